"""Detectors: each finds one way in which a series leaves what it has taught us, and says so with numbers.

A detector is one file here, ``<name>.py`` with a class ``Detector`` that fulfils :class:`rules.evidence.Evidence`.  Packs name it:
``anomaly: {detectors: [<name>]}``.  The contract suite runs over every one found.  ``docs/anomaly.md`` tells of each.
"""
