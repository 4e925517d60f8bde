"""The checks, a file each; each looks at what the plan names and says nothing of what it does not name."""
