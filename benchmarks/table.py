"""Measurements as lines of a table, and as a plot."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

LOGGERS = {"bare": "nothing", "stock": "stock callback", "ours": "ours"}  # as the columns are called


@dataclass
class Line:
    """What was measured of one thing.

    Attributes:
        part: The part that it belongs to.
        title: Name of the measurement.
        unit: Its unit.
        values: All measurements by logger: ``"bare"``, ``"stock"``, ``"ours"``.
        against: Whom ours is compared with.
        most: The ratio that ours is to have at most, or, with ``against=""``, the value.
        remark: What else is to be said.
    """

    part: str
    title: str
    unit: str
    values: dict[str, list[float]]
    against: str = "stock"
    most: float | None = None
    remark: str = ""
    ratio: float | None = field(init=False)
    is_met: bool | None = field(init=False)

    def __post_init__(self) -> None:
        """Work out the ratio: of pairs that were measured one after the other, as the median."""
        ours, theirs = self.values.get("ours", []), self.values.get(self.against, [])
        pairs = [our_value / their_value for our_value, their_value in zip(ours, theirs) if their_value]
        self.ratio = median(pairs) if pairs else None
        reached = self.ratio if self.against else (median(ours) if ours else None)
        self.is_met = None if self.most is None or reached is None else reached <= self.most

    def shown(self, logger: str) -> str:
        """Return median and spread of somebody's values."""
        values = self.values.get(logger)
        if not values:
            return ""
        spread = f" ({_number(min(values))} to {_number(max(values))})" if len(values) > 1 else ""
        return f"{_number(median(values))}{spread}"

    @property
    def compared(self) -> str:
        """The ratio, in words."""
        return f"{self.ratio:.2f} of {LOGGERS[self.against]}" if self.ratio is not None else ""

    @property
    def goal(self) -> str:
        """What is to be reached, and whether it is."""
        if self.most is None:
            return ""
        wanted = f"{self.most:g} of {LOGGERS[self.against]}" if self.against else f"{self.most:g} {self.unit}"
        return f"at most {wanted}: {'yes' if self.is_met else '**no**'}"

    @property
    def text(self) -> str:
        """The line in a terminal."""
        found = ", ".join(f"{LOGGERS[logger]} {self.shown(logger)}" for logger in LOGGERS if self.values.get(logger))
        return f"{self.part}: {self.title}, {self.unit}: {found} {self.compared} {self.goal} {self.remark}".rstrip()


def markdown(lines: Sequence[Line]) -> str:
    """Return a table of all lines."""
    rows = [
        "| what | unit | nothing | stock callback | ours | ratio | goal |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for line in lines:
        cells = [line.title, line.unit, *(line.shown(logger) for logger in LOGGERS), line.compared, line.goal]
        rows.append(f"| {' | '.join(cells)} |")
    remarks = [f"- {line.title}: {line.remark}" for line in lines if line.remark]
    return "\n".join([*rows, *(["", *remarks] if remarks else [])]) + "\n"


def draw(lines: Sequence[Line], file: Path) -> None:
    """Draw the ratios of ours to what it is compared with, and the goals."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [line for line in lines if line.ratio is not None]
    if not shown:
        return
    figure, axes = plt.subplots(figsize=(9, 0.42 * len(shown) + 1.2), layout="constrained")
    places = range(len(shown))
    colours = ["tab:red" if line.is_met is False else "tab:blue" for line in shown]
    axes.barh(places, [line.ratio for line in shown], color=colours)
    goals = [(place, line.most) for place, line in zip(places, shown) if line.most]
    axes.plot([most for _, most in goals], [place for place, _ in goals], "k|", markersize=16, label="goal, at most")
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_yticks(places, [f"{line.title}, {LOGGERS[line.against]} = 1" for line in shown])
    axes.invert_yaxis()
    axes.set_xlabel("ours, as a ratio")
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=120)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"  # noqa: PLR2004  # digits enough
