"""The registry's schema, version by version, for Alembic.

A change of the schema is a new file in ``versions/`` that follows on the last; what is released is never edited.
"""
