"""Notification channels, one file each; the name in ``notify.yaml`` is the file's name."""
