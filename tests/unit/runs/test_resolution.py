"""How a logging rank gets its run: every case of the decision, and which ranks log."""

from __future__ import annotations

import itertools

import pytest

from ultralytics_wb_ddp.config.options import RunOptions, merge
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.distributed.topology import Topology
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.resolution import RunResolution, logging_ranks, resolve, resolve_rank
from ultralytics_wb_ddp.runs.run_record import RunRecord

LOCAL = Handoff("local", "demo", state="open", host="here", mode="online", service="token")
OPEN = Handoff("abc", "demo", "team", state="open", host="here", mode="online", service="token")
CLOSED = Handoff("abc", "demo", "team", state="closed", host="here", mode="online")
DISABLED = Handoff("abc", state="open", mode="disabled")
EARLIER = RunRecord("earlier", "before")
DEFAULT = {"project": "Ultralytics", "name": "train", "dir": "runs/train"}
TWO_RANKS = Topology(0, 0, 2, 2, 0, 1)
TWO_NODES = Topology(0, 0, 2, 1, 0, 2)


def resolved(
    *,
    local: Handoff | None = None,
    handoff: Handoff | None = None,
    earlier: RunRecord | None = None,
    topology: Topology | None = None,
    env: dict[str, str] | None = None,
    **options: str,
) -> RunResolution:
    return resolve(
        RunOptions(**options),  # type: ignore[arg-type]  # a table of cases
        DEFAULT,
        local=local,
        handoff=handoff,
        earlier=earlier,
        topology=topology,
        host="here",
        env=env,
        new_id="new-id",
    )


@pytest.mark.parametrize(
    ("handoff", "earlier"), list(itertools.product([None, OPEN, CLOSED, DISABLED], [None, EARLIER]))
)
def test_run_of_this_process_is_adopted_whatever_else_there_is(
    handoff: Handoff | None, earlier: RunRecord | None
) -> None:
    resolution = resolved(local=LOCAL, handoff=handoff, earlier=earlier)

    assert (resolution.action, resolution.base_id, resolution.handoff) == ("adopt", "local", handoff)


@pytest.mark.parametrize("earlier", [None, EARLIER])
def test_run_that_is_open_in_the_launcher_is_attached_to(earlier: RunRecord | None) -> None:
    resolution = resolved(handoff=OPEN, earlier=earlier)

    assert (resolution.action, resolution.base_id, resolution.handoff) == ("attach", "abc", OPEN)


@pytest.mark.parametrize("earlier", [None, EARLIER])
def test_closed_run_is_resumed_in_its_project(earlier: RunRecord | None) -> None:
    resolution = resolved(handoff=CLOSED, earlier=earlier, project="mine", name="mine")

    assert (resolution.action, resolution.base_id, resolution.handoff) == ("resume", "abc", CLOSED)
    options = resolution.options
    assert (options.project, options.entity, options.mode) == ("demo", "team", "online")
    assert (options.name, options.dir) == ("mine", "runs/train")


@pytest.mark.parametrize("run_mode", ["auto", "new", "shared"])
def test_resumed_training_resumes_the_run_of_its_directory(run_mode: str) -> None:
    resolution = resolved(earlier=EARLIER, topology=TWO_RANKS, run_mode=run_mode)

    assert (resolution.action, resolution.options.project) == ("new" if run_mode == "new" else "resume", "before")
    assert resolution.plan.run_id == ("earlier-rank-0" if run_mode == "new" else "earlier")


def test_resumed_ranks_keep_the_id_that_theirs_are_derived_from() -> None:
    record = RunRecord("base-rank-0", "before", base_id="base")

    assert resolved(earlier=record, topology=TWO_RANKS, run_mode="new").plan.run_id == "base-rank-0"


def test_otherwise_the_run_is_new() -> None:
    resolution = resolved(name="mine")

    assert (resolution.action, resolution.plan.run_id, resolution.resume) == ("new", "new-id", None)
    assert resolution.options == RunOptions(project="Ultralytics", name="mine", dir="runs/train")


def test_disabled_run_is_left_alone() -> None:
    assert resolved(handoff=DISABLED).action == "skip"
    assert resolved(local=DISABLED).action == "skip"


@pytest.mark.parametrize(
    ("handoff", "words"),
    [
        (Handoff("abc", state="open", host="there", service="token"), ["'abc'", "'there'", "'here'"]),
        (Handoff("abc", state="open", host="here"), ["'abc'", "WANDB_SERVICE"]),
    ],
)
def test_open_run_out_of_reach_is_refused_with_the_remedy(handoff: Handoff, words: list[str]) -> None:
    refused = resolved(handoff=handoff, earlier=EARLIER)

    assert refused.action == "refuse"
    assert [word for word in [*words, "prepare_for_training()"] if word not in str(refused.error)] == []


def test_wandb_core_of_the_launcher_may_be_named_by_the_environment() -> None:
    handoff = Handoff("abc", state="open", host="here")

    assert resolved(handoff=handoff, env={"WANDB_SERVICE": "token"}).action == "attach"


def test_rank_0_has_a_run_of_its_own_beside_the_launchers() -> None:
    resolution = resolved(handoff=CLOSED, topology=TWO_RANKS, run_mode="new", name="mine")

    assert (resolution.action, resolution.plan.run_id, resolution.resume) == ("new", "abc-rank-0", "allow")
    options = resolution.options
    assert (options.project, options.name, options.group) == ("demo", "mine-rank-0", "abc")


@pytest.mark.parametrize(
    ("local", "handoff", "action", "ends_run"),
    [
        (None, None, "new", True),
        (None, CLOSED, "resume", True),
        (None, Handoff("abc", "demo", state="open", host="here", is_shared=True), "resume", False),
        (Handoff("abc", "demo", state="open", host="here", is_shared=True), None, "adopt", None),
    ],
)
def test_shared_run_gets_a_further_writer(
    local: Handoff | None,
    handoff: Handoff | None,
    action: str,
    ends_run: bool | None,  # noqa: FBT001  # a table of cases
) -> None:
    resolution = resolved(local=local, handoff=handoff, topology=TWO_RANKS, run_mode="shared")

    assert resolution.action == action
    assert (resolution.writer and resolution.writer.ends_run) == ends_run
    assert action == "adopt" or resolution.options.mode is None, "W&B's shared mode takes its place"


@pytest.mark.parametrize("known", ["local", "handoff"])
def test_run_that_is_open_for_one_writer_cannot_be_shared(known: str) -> None:
    resolution = resolved(**{known: OPEN}, topology=TWO_RANKS, run_mode="shared")  # type: ignore[arg-type]

    assert resolution.action == "refuse"
    assert isinstance(resolution.error, ConfigurationError)
    assert "prepare_for_training()" in str(resolution.error)


def test_each_node_has_a_run_of_its_own() -> None:
    resolution = resolved(topology=TWO_NODES, rank_scope="worker", group="mine")

    assert resolution.plan.run_id == "new-id-worker-0"
    assert {node: plan.run_id for node, plan in resolution.nodes.items()} == {
        "worker-0": "new-id-worker-0",
        "worker-1": "new-id-worker-1",
    }


def test_other_ranks_follow_the_run_of_rank_0() -> None:
    from ultralytics_wb_ddp.distributed.topology import plan_rank

    second = Topology(1, 1, 2, 2, 0, 1)
    base = Handoff("abc", "demo", "team", mode="offline")
    plan = plan_rank(second, "new", "global", "abc")
    assert plan

    resolution = resolve_rank(RunOptions(project="mine"), base, plan, config={}, writer=None, measures=False)

    options = resolution.options
    assert (options.project, options.entity, options.mode) == ("demo", "team", "offline")
    assert (options.name, options.group, resolution.resume) == ("rank-1", "abc", "allow")
    assert (resolution.is_main, resolution.init) == (False, {"settings": {"x_disable_stats": True}})


# Which mode: the argument, then the launcher's configuration, then the default


@pytest.mark.parametrize(
    ("options", "launchers", "expected"),
    [
        ({}, {}, ("auto", "global")),
        ({"run_mode": "new"}, {}, ("new", "global")),
        ({}, {"run_mode": "shared", "rank_scope": "worker"}, ("shared", "worker")),
        ({"run_mode": "new"}, {"run_mode": "shared", "rank_scope": "worker"}, ("new", "worker")),
        ({"strategy": "main"}, {"run_mode": "shared"}, ("auto", "global")),
        ({"strategy": "node"}, {}, ("auto", "worker")),
        ({"strategy": "all"}, {}, ("new", "global")),
    ],
)
def test_argument_comes_before_the_launchers_configuration(
    options: dict[str, str], launchers: dict[str, str], expected: tuple[str, str]
) -> None:
    asked = RunOptions(**merge(RunOptions.parse_layer(options, "add_wandb_callback"), launchers))

    assert logging_ranks(asked, None, {}) == expected


@pytest.mark.parametrize(
    ("options", "handoff", "env", "named"),
    [
        ({"mode": "offline"}, None, {}, "mode='offline'"),
        ({}, Handoff("base", mode="offline"), {}, "the launcher's run in mode='offline'"),
        ({}, None, {"WANDB_MODE": "dryrun"}, "WANDB_MODE='dryrun'"),
    ],
)
def test_shared_mode_offline_names_other_modes(
    options: dict[str, str], handoff: Handoff | None, env: dict[str, str], named: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"run_mode='shared' with {named}: .* use run_mode='auto'"):
        logging_ranks(RunOptions.parse({"run_mode": "shared", **options}, "add_wandb_callback"), handoff, env)
