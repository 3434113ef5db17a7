"""How a logging rank gets its run: every case of the decision, and what exceptions mean for a run's state."""

from __future__ import annotations

import itertools

import pytest

from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.resolution import RunResolution, resolve
from ultralytics_wb_ddp.utils.errors import exit_code_of

OPEN = Handoff("abc", "demo", state="open", host="here", mode="online")
CLOSED = Handoff("abc", "demo", state="closed", host="here", mode="online")
DISABLED = Handoff("abc", state="open", mode="disabled")
EARLIER = Handoff("earlier")


def plan(
    *, local: bool = False, handoff: Handoff | None = None, service: bool = True, earlier: Handoff | None = None
) -> RunResolution:
    return resolve(local=local, handoff=handoff, host="here", service=service, earlier=earlier)


@pytest.mark.parametrize(
    ("handoff", "service", "earlier"),
    list(itertools.product([None, OPEN, CLOSED, DISABLED], [True, False], [None, EARLIER])),
)
def test_run_of_this_process_is_adopted_whatever_else_there_is(
    handoff: Handoff | None,
    service: bool,  # noqa: FBT001  # a table of cases
    earlier: Handoff | None,
) -> None:
    assert plan(local=True, handoff=handoff, service=service, earlier=earlier).action == "adopt"


@pytest.mark.parametrize("earlier", [None, EARLIER])
def test_run_that_is_open_in_the_launcher_is_attached_to(earlier: Handoff | None) -> None:
    assert plan(handoff=OPEN, earlier=earlier) == RunResolution("attach", OPEN)


@pytest.mark.parametrize("earlier", [None, EARLIER])
@pytest.mark.parametrize("service", [True, False])
def test_closed_run_is_resumed(service: bool, earlier: Handoff | None) -> None:  # noqa: FBT001  # a table of cases
    assert plan(handoff=CLOSED, service=service, earlier=earlier) == RunResolution("resume", CLOSED)


def test_resumed_training_resumes_the_run_of_its_directory() -> None:
    assert plan(earlier=EARLIER) == RunResolution("resume", EARLIER)


def test_otherwise_the_run_is_new() -> None:
    assert plan() == RunResolution("new")


def test_disabled_run_is_left_alone() -> None:
    assert plan(handoff=DISABLED).action == "skip"


@pytest.mark.parametrize(
    ("handoff", "service", "words"),
    [
        (Handoff("abc", state="open", host="there"), True, ["'abc'", "'there'", "'here'"]),
        (OPEN, False, ["'abc'", "WANDB_SERVICE"]),
    ],
)
def test_open_run_out_of_reach_is_refused_with_the_remedy(handoff: Handoff, service: bool, words: list[str]) -> None:  # noqa: FBT001  # a table of cases
    refused = plan(handoff=handoff, service=service, earlier=EARLIER)

    assert refused.action == "refuse"
    assert [word for word in [*words, "prepare_for_training()"] if word not in refused.reason] == []


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (None, 0),
        (RuntimeError(), 1),
        (KeyboardInterrupt(), 255),
        (SystemExit(), 0),
        (SystemExit(0), 0),
        (SystemExit(3), 3),
        (SystemExit("a message"), 1),
    ],
)
def test_exit_code_is_that_of_the_exception(error: BaseException | None, exit_code: int) -> None:
    assert exit_code_of(error) == exit_code
