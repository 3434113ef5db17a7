"""Logging of trainings that no line of their script asks for."""
