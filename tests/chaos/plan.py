"""What is drawn before a run of the campaign starts, so that its seed and its number name all of it."""

from __future__ import annotations

import random
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.faults import FAULTS, Fault
from chaos.usages import PROCESSES, USAGES

ALONE = ("1",)
EVENTS_IN_EPOCHS = (
    "on_train_epoch_start",
    "on_train_batch_start",
    "on_train_batch_end",
    "on_train_epoch_end",
    "on_val_start",
    "on_val_end",
    "on_model_save",
    "on_fit_epoch_end",
)
EVENTS = (
    "on_pretrain_routine_start",
    "on_pretrain_routine_end",
    "on_train_start",
    *EVENTS_IN_EPOCHS,
    "on_train_end",
    "teardown",
)
ERRORS = {"RuntimeError": 1, "SystemExit": 3, "KeyboardInterrupt": 255}


@dataclass(frozen=True)
class Strike:
    """A fault that is to happen.

    Attributes:
        fault: Name of the fault, a key of :data:`FAULTS`.
        at: When, as a part of the life of an undisturbed job.
        by_steps: Whether all steps of the job count as equally long, see :meth:`chaos.timeline.Timeline.moment`.
        details: What else was drawn: seconds, the event of an exception and the like.
    """

    fault: str
    at: float
    by_steps: bool = False
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Fault:
        """The fault."""
        return FAULTS[self.fault]

    def __str__(self) -> str:
        details = ", ".join(f"{name} {value}" for name, value in self.details.items())
        when = (
            ""
            if self.kind.raises or self.kind.from_start
            else f" at {self.at:.3f} of the {'steps' if self.by_steps else 'life'}"
        )
        return f"{self.fault}{f' ({details})' if details else ''}{when}"


@dataclass(frozen=True)
class Plan:
    """A run of the campaign.

    Attributes:
        seed: Seed of the campaign.
        number: Number of the run.
        usage: Usage of the package.
        processes: "1", "2", or "torchrun" for two that torchrun has started.
        online: Whether the run is online.
        count_lag: Seconds by which the server counts rows late.
        sends_often: Whether the client sends every second, not every 15.
        by_hand: Whether usage C registers the callbacks by hand.
        strikes: The fault of each life; a further life without a fault follows where ``restart`` is set.
        restart: Whether the job is started again after its first life.
        restart_after: Seconds from the end of a life to the next.
        companion: Whether another training runs beside the first life.
        sends_first: Whether the commands that a life has named are called before the next life, not after the last.
        among: The options of the campaign that have narrowed what was drawn.
    """

    seed: int
    number: int
    usage: str
    processes: str
    online: bool
    count_lag: float
    sends_often: bool
    by_hand: bool
    strikes: tuple[Strike, ...]
    restart: bool
    restart_after: float
    companion: bool
    sends_first: bool
    among: tuple[str, ...] = ()

    @property
    def lives(self) -> list[Strike | None]:
        """The fault of each life, in order."""
        return [*self.strikes, None] if self.restart else [*self.strikes]

    @property
    def place(self) -> str:
        """Usage and processes, as in the table."""
        words = {"1": "one process", "2": "two processes", "torchrun": "torchrun"}
        return f"{self.usage}, {words[self.processes]}"

    def __str__(self) -> str:
        kind = f"online, counts {self.count_lag:g} s late" if self.online else "offline"
        often = ", sends every second" if self.sends_often else ""
        hand = ", by hand" if self.by_hand else ""
        strikes = ", then ".join(map(str, self.strikes))
        restart = f"; started again after {self.restart_after:g} s" if self.restart else ""
        first = ", once its data is sent" if self.sends_first else ""
        beside = "; beside another training" if self.companion else ""
        options = " ".join([f"--seed {self.seed} --only {self.number}", *self.among])
        return f"{options}: {self.place}{hand}, {kind}{often}: {strikes}{restart}{first}{beside}"


def draw(
    seed: int, number: int, usages: Sequence[str] = (), processes: Sequence[str] = (), faults: Sequence[str] = ()
) -> Plan:
    """Draw a plan.

    Args:
        seed: Seed of the campaign.
        number: Number of the run.
        usages: Usages to draw from; all of them if empty.
        processes: Numbers of processes to draw from; all of them if empty.
        faults: Faults, or classes of faults, to draw from; all of them if empty.
    """
    chance = random.Random(f"{seed}/{number}")
    known = [name for name, fault in FAULTS.items() if not faults or name in faults or fault.group in faults]
    usage, count, online = _place(chance, usages or USAGES, processes or PROCESSES, known)
    possible = [name for name in known if FAULTS[name].is_possible(usage, count, online=online)]
    restart = chance.random() < 0.4
    strikes = [_strike(chance, possible, count)]
    if restart and chance.random() < 0.3:
        strikes.append(_strike(chance, possible, count))
    return Plan(
        seed,
        number,
        usage,
        count,
        online,
        count_lag=chance.choice((0.0, 3.0)) if online else 0.0,
        sends_often=chance.random() < 0.5,
        by_hand=chance.random() < 0.3 and usage == "C",
        strikes=tuple(strikes),
        restart=restart,
        # W&B counts the rows of a run that the script itself opens again, as in A, only after some seconds.
        restart_after=6.0 if usage == "A" else chance.choice((0.0, 0.0, 2.0, 6.0)),
        companion=chance.random() < 0.1,
        sends_first=restart and chance.random() < 0.5,
        among=(*_option("usage", usages), *_option("processes", processes), *_option("fault", faults)),
    )


def _place(
    chance: random.Random, usages: Sequence[str], processes: Sequence[str], known: list[str]
) -> tuple[str, str, bool]:
    """Draw usage, processes, and whether the run is online: a place in which one of the known faults is possible."""

    def is_possible(usage: str, count: str, *, online: bool) -> bool:
        return any(FAULTS[name].is_possible(usage, count, online=online) for name in known)

    usage, count, online = chance.choice(usages), chance.choice(processes), chance.random() < 0.75
    if is_possible(usage, count, online=online):
        return usage, count, online
    allowed = [(usage, count) for usage in usages for count in processes if is_possible(usage, count, online=True)]
    wider = [(usage, count) for usage in usages for count in PROCESSES if is_possible(usage, count, online=True)]
    return (*chance.choice(allowed or wider), True)


def _option(name: str, values: Sequence[str]) -> list[str]:
    return [f"--{name} {shlex.quote(value)}" for value in values]


def _strike(chance: random.Random, possible: list[str], processes: str) -> Strike:
    groups = sorted({FAULTS[name].group for name in possible})
    group = chance.choice(groups)
    name = chance.choice([each for each in possible if FAULTS[each].group == group])
    fault, at = FAULTS[name], round(chance.random(), 3)
    by_steps, details = chance.random() < 0.5, dict[str, Any]()
    if fault.seconds:
        details["seconds"] = round(chance.uniform(*fault.seconds), 1)
    if fault.raises:
        event = chance.choice(EVENTS)
        details = {
            "error": chance.choice([*ERRORS]),
            "place": chance.choice(("before", "after")),
            "event": event,
            "rank": 0 if processes in ALONE else chance.choice((0, 1)),
            "epoch": chance.choice((0, 1)) if event in EVENTS_IN_EPOCHS else 0,
        }
    return Strike(name, at, by_steps, details)
