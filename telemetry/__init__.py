"""The language every part of Yemai shares: what was read, how it travels, what went wrong."""
