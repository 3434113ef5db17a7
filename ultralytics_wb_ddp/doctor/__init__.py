"""Checks before and after a training."""
