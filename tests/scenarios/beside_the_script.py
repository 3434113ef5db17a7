"""A module of the user's beside a script, with a callback."""

from __future__ import annotations

from typing import Any


def note_the_module(trainer: Any) -> None:
    trainer.note("module")
