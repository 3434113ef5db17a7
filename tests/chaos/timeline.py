"""The course of an undisturbed life, by which the moment of a fault is found again on a machine that is busy or idle."""

from __future__ import annotations

import bisect
import json
from dataclasses import dataclass
from pathlib import Path

from chaos.evidence import Mark


@dataclass(frozen=True)
class Timeline:
    """The marks of an undisturbed life.

    Attributes:
        seconds: Seconds that it took.
        marks: When each mark of rank 0 and the launcher was made, in seconds from the start.
    """

    seconds: float
    marks: tuple[float, ...]

    @classmethod
    def of(cls, marks: list[Mark], begun: float, seconds: float) -> Timeline:
        """Return the course of a life that began at a time, in seconds since 1970."""
        return cls(seconds, tuple(mark.at - begun for mark in marks if mark.rank == 0))

    def moment(self, part: float, *, by_steps: bool) -> tuple[int, float]:
        """Return a moment of a life: how many marks precede it, and the seconds since the last of them.

        Args:
            part: The moment as a part of the life, from 0 to 1.
            by_steps: Whether all steps between two marks count as equally long. Imports take most of the time of a short
                life, so that its end would be struck seldom.
        """
        ends = (0.0, *self.marks, self.seconds)
        if by_steps:
            step = min(int(part * (len(ends) - 1)), len(ends) - 2)
            return step, (part * (len(ends) - 1) - step) * max(0.0, ends[step + 1] - ends[step])
        count = bisect.bisect_right(self.marks, part * self.seconds)
        return count, part * self.seconds - ends[count]

    def write(self, file: Path) -> None:
        """Write it to a file."""
        file.write_text(json.dumps([self.seconds, self.marks]), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Timeline:
        """Read it from a file."""
        seconds, marks = json.loads(file.read_text(encoding="utf-8"))
        return cls(seconds, tuple(marks))
