"""People and machines at the desk: who they are, how they prove it, and what each may do."""
