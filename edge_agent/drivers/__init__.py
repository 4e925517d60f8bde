"""How devices are spoken to.  The file's name is the word in the configuration.

Each module has ``TRANSPORT`` (the kind of profile it serves), ``Config`` (the bus's ``link`` table) and
``Driver``: see :mod:`edge_agent.driver` for what a driver promises.
"""
