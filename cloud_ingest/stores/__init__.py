"""Where samples are kept.  The file's name is the word in the configuration; see :mod:`cloud_ingest.store`."""
