"""How uploads reach the pipeline.  The file's name is the word in the configuration; see :mod:`cloud_ingest.source`."""
