"""How a job has truly ended: the states that its run may be in, derived from what ended the job."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from chaos.evidence import Life, Outcome
from chaos.faults import EVERY, GROUP
from chaos.plan import ERRORS

State = tuple[str, int | None]  # state and exit code of a run
FINISHED: State = ("finished", 0)
FAILED: State = ("failed", 1)
PREEMPTED: State = ("preempted", 143)
INTERRUPTED: State = ("failed", 255)
BY_SIGNAL = {signal.SIGKILL: {FAILED}, signal.SIGTERM: {PREEMPTED}, signal.SIGINT: {INTERRUPTED}}


@dataclass(frozen=True)
class Ending:
    """What must be true of the run.

    Attributes:
        states: States that are true.
        needs_run: Whether there must be a run: it was open before the fault.
        reason: Why, in words.
    """

    states: frozenset[State]
    needs_run: bool
    reason: str


def ending(outcome: Outcome) -> Ending:
    """Return the true ending of a trial, which is that of its last life."""
    life = outcome.last
    needs_run = any(_was_open(outcome, each) for each in outcome.lives)
    if life.exit_code == 0:
        return Ending(frozenset({FINISHED}), needs_run=True, reason="the job has ended with exit code 0")
    states = _states_of_fault(outcome, life) if outcome.happened(life) else {FAILED}
    reason = f"the job has ended with exit code {life.exit_code} after {life.strike}"
    if was_trained(outcome, life):  # before the fault came, or because other processes went on
        states = {*states, FINISHED}
        reason += "; the training has come to its end"
    if not outcome.plan.online:  # a session's record has an exit code and no state
        states = {*states, *(("failed", code) for _, code in states if code)}
    return Ending(frozenset(states), needs_run, reason)


def was_trained(outcome: Outcome, life: Life) -> bool:
    """Return whether the training of a life has come to its end."""
    return bool(outcome.marked("after on_train_end", life.number) or outcome.marked("trained", life.number))


def _was_open(outcome: Outcome, life: Life) -> bool:
    """Return whether the run was open before the fault of a life."""
    limit = {"before": life.struck_at} if life.struck_at else {}
    return bool(
        outcome.marked("opened", life.number, **limit)
        or outcome.marked("after on_pretrain_routine_end", life.number, **limit)
    )


def _states_of_fault(outcome: Outcome, life: Life) -> set[State]:
    strike = life.strike
    assert strike
    fault, is_users = strike.kind, outcome.plan.usage == "A"
    if fault.raises:
        code = ERRORS[strike.details["error"]]
        # A launcher learns only that a rank has failed.
        launched = {FAILED} if is_users or code == ERRORS["KeyboardInterrupt"] else set()
        return {("failed", code), *launched}
    if fault.signal not in BY_SIGNAL:
        return {FAILED}
    states = set(BY_SIGNAL[signal.Signals(fault.signal)])
    if fault.signal == signal.SIGTERM and is_users:
        states |= {("preempted", 1)}  # W&B's own end of a script that fails
    if fault.signal == signal.SIGTERM and fault.role.startswith("rank"):
        rank = int(fault.role.removeprefix("rank "))
        if life.struck_at and outcome.marked("after teardown", life.number, before=life.struck_at, rank=rank):
            states |= {
                FAILED
            }  # a rank whose training is over tells nobody; the launcher learns only that it has failed
    if fault.signal == signal.SIGINT and fault.role not in {GROUP, EVERY}:
        states |= {FAILED}  # the other processes fail because one was interrupted
    return states
