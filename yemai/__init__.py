"""The ``yemai`` command, and all the parts composed on one machine."""

__version__ = "0.1.0"
