"""A training that a config describes."""
