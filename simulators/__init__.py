"""A city that does not exist, served over the real protocols, with its ground truth kept."""
