"""Rows, charts and tables from trainers and validators; no run, no network."""
