"""Figures as JSON lines: ``python -m bench [NAME]``; a bench is a file here with ``run() -> Iterator[Figure]``."""
