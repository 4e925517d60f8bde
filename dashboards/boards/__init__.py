"""The boards, a file each kind: ``boards(look, subjects)`` returns those of its kind.

Another file here is another kind of board; there is no list to edit.
"""
