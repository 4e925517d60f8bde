"""The HTTP routes, one file a subject; each has ``add(api, center)``."""
