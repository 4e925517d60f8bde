"""The ways to the cloud.  The file's name is the word in the configuration.

Each module has ``Config`` (the ``link`` table of ``[uplink]``), ``MOST_BYTES`` (of a message), ``CODEC`` and
``connect``: see :mod:`edge_agent.link` for what a way promises.
"""
