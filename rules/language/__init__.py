"""The language of ``when`` and ``value``: text to tokens, tokens to a tree, the tree bound to a class's metrics.

Never ``eval``: what the parser does not know cannot be said.  docs/rules.md tells the language to those who write it.
"""
