"""Copies of what a district must not lose, taken while it runs, and the way back."""
