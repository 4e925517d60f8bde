"""A district's own certificate authority: who may speak to the broker, and under which name."""
