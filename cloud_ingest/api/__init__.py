"""The data API: what the district's devices are and say, for the city's other systems.

One module a resource; :mod:`cloud_ingest.api.app` puts them together.
"""
