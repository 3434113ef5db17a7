"""Log one Ultralytics training: its events, its ranks, its callbacks."""
