"""CAP 1.2, the Common Alerting Protocol (OASIS, July 2010): warnings out as documents and a feed, warnings in from others."""
