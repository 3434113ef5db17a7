"""Known limits, which README and docs/reliability.md name: a violation that one explains counts as that limit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from chaos.evidence import Life, Outcome
from chaos.faults import EVERY, NAMES
from chaos.processes import CORE, LAUNCHER


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


def _own_run(outcome: Outcome) -> bool:
    return outcome.plan.usage == "A"


def _ends_wandb_core_of_own_run(outcome: Outcome) -> bool:
    ends = {f"{verb} {role}" for verb in NAMES.values() for role in (CORE, EVERY)}
    return _own_run(outcome) and any(life.strike and life.strike.fault in ends for life in _struck(outcome))


def _kills_own_run(outcome: Outcome) -> bool:
    """Return whether the process of the script's own run was killed: the launcher, or under torchrun rank 0."""
    holder = "rank 0" if outcome.plan.processes == "torchrun" else LAUNCHER
    return _own_run(outcome) and any(life.strike and life.strike.fault == f"kill {holder}" for life in _struck(outcome))


def _opens_own_run_without_server(outcome: Outcome) -> bool:
    return _own_run(outcome) and any(
        life.strike and life.strike.kind.group == "server" and not outcome.marked("opened", life.number)
        for life in _struck(outcome)
    )


def _fills_disk_of_own_offline_run(outcome: Outcome) -> bool:
    is_full = any(life.strike and life.strike.fault == "full disk" for life in _struck(outcome))
    return is_full and _own_run(outcome) and not outcome.plan.online


def _deletes_offline_data(outcome: Outcome) -> bool:
    is_deleted = any(life.strike and life.strike.fault == "deleted run directory" for life in _struck(outcome))
    return is_deleted and not outcome.plan.online


def _kills_everything(outcome: Outcome) -> bool:
    return any(life.strike and life.strike.fault == f"kill {EVERY}" for life in _struck(outcome))


LIMITS: tuple[Limit, ...] = (
    Limit(
        "killed together with its service process",
        ("every_epoch_once", "no_row_lost", "true_state", "one_run"),
        _kills_everything,
        "README, Limits: what was sent or is on disk remains, and W&B counts the run as crashed after a while",
    ),
    Limit(
        "the script's own calls of W&B, whose wandb-core was killed",
        ("training_unharmed", "true_state"),
        _ends_wandb_core_of_own_run,
        "docs/reliability.md, A run of your own: such calls raise W&B's errors",
    ),
    Limit(
        "the script's own run, killed with the script",
        ("every_epoch_once", "no_row_lost", "true_state", "one_run", "parts_named"),
        _kills_own_run,
        "docs/reliability.md, A run of your own: W&B decides its state",
    ),
    Limit(
        "the script's own wandb.init without a server",
        ("training_unharmed", "one_run", "true_state"),
        _opens_own_run_without_server,
        "docs/reliability.md, A run of your own: wandb.init raises W&B's errors",
    ),
    Limit(
        "the script's own calls of W&B, offline on a full disk",
        ("no_row_lost",),
        _fills_disk_of_own_offline_run,
        "docs/reliability.md, A run of your own: W&B cannot keep what your own calls log",
    ),
    Limit(
        "the only copy of the data was deleted",
        ("every_epoch_once", "no_row_lost", "true_state", "one_run", "checkpoint_arrived", "commands_succeed"),
        _deletes_offline_data,
        "an offline run is on disk only",
    ),
)


def limit_of(invariant: str, outcome: Outcome) -> Limit | None:
    """Return the limit that explains a violation; None for a violation."""
    return next((limit for limit in LIMITS if invariant in limit.explains and limit.applies(outcome)), None)
