"""The words of the ``yemai`` command, a file each: the file's name is the word.

A file has ``app`` (a :class:`typer.Typer`) and imports the part that it starts only when the word is used, so that
``yemai edge`` runs where nothing but ``yemai[edge]`` is installed.
"""
