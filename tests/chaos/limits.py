"""Known limits, which README and docs/reliability.md name: a violation that one explains counts as that limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaos.evidence import Life, Outcome
from chaos.faults import EVERY


@dataclass(frozen=True)
class Limit:
    """A known limit.

    Attributes:
        name: Its name in the table.
        explains: Names of the invariants that it explains the violation of.
        applies: Whether it applies to a trial.
        reason: Where the documents name it.
    """

    name: str
    explains: tuple[str, ...]
    applies: Callable[[Outcome], bool]
    reason: str


def _struck(outcome: Outcome) -> list[Life]:
    return [life for life in outcome.lives if outcome.happened(life)]


def _kills_everything(outcome: Outcome) -> bool:
    return any(life.strike and life.strike.fault == f"kill {EVERY}" for life in _struck(outcome))


LIMITS: tuple[Limit, ...] = (
    Limit(
        "killed together with its service process",
        ("every_epoch_once", "no_row_lost", "true_state", "one_run"),
        _kills_everything,
        "README, Limits: what was sent or is on disk remains, and W&B counts the run as crashed after a while",
    ),
)


def limit_of(invariant: str, outcome: Outcome) -> Limit | None:
    """Return the limit that explains a violation; None for a violation."""
    return next((limit for limit in LIMITS if invariant in limit.explains and limit.applies(outcome)), None)
