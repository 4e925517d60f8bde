"""A district on one machine: every part a process of its own, real protocols between them."""
