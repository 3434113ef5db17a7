"""Processes of a distributed training: how they start, meet, communicate and end."""
