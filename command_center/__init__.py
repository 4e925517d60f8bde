"""The alarm desk: each alarm once, who acknowledged it, and the page that shows it."""
