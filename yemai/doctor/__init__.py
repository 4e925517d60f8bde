"""What is unsafe about an installation, and how to mend it."""
