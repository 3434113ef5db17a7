"""All run modes and rank scopes in real trainings, on one node of two processes and on two nodes of two."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from wandb_server import WandbServer
from wandb_server.store import StoredRun

from support.jobs import NIGHTLY, PRELUDE, LaunchAgents, RunJob, RunOnline, wait_until_closed
from ultralytics_wb_ddp import Links, RankPlan, Topology, plan_rank

MODES = list(itertools.product(("auto", "new", "shared"), ("global", "worker")))
# On several nodes, "auto" is tried by the tests of several nodes, and "new" with ids for each node.
AT_NIGHT = {("auto", "global"), ("new", "global")}
CELLS = [pytest.param(*mode, marks=NIGHTLY if mode in AT_NIGHT else ()) for mode in MODES]
LOSSES = ("train/box_loss", "train/cls_loss", "train/dfl_loss")

# One training in each mode, one after the other; each rank notes the run that it is given.
EVERY_MODE = """
import json
from ultralytics_wb_ddp import get_wandb_run, train_distributed
for mode, scope in MODES:
    name = f"{mode}-{scope}"
    def note(trainer, name=name):
        run = get_wandb_run()
        open(f"{name}-{os.environ['RANK']}.json", "w").write(json.dumps(run and run.id))
        print("this rank trains")
    model = YOLO(os.environ["MODEL"])
    model.add_callback("on_train_epoch_end", note)
    add_wandb_callback(model, project=name, run_mode=mode, rank_scope=scope)
    train_distributed(model, **{**SETTINGS, "name": name, "epochs": 1, "batch": 16}, trainer=CpuDDPTrainer, device="0,1")
    assert get_wandb_run() is None
"""


class Launch:
    """What six trainings of one launch have left."""

    def __init__(self, nodes: int, directory: Path, server: WandbServer, printed: str) -> None:
        self.nodes = nodes
        self.directory = directory
        self.server = server
        self.printed = printed

    def plans(self, mode: str, scope: str) -> list[RankPlan | None]:
        """What each rank should do, by the id that rank 0 chose."""
        runs = self.runs(mode, scope)
        suffix = "-worker-0" if scope == "worker" and self.nodes > 1 else ""
        suffix += "-rank-0" if mode == "new" else ""
        base = next(run_id for run_id in runs if run_id.endswith(suffix)).removesuffix(suffix)
        places = [Topology(rank, rank % 2, 2 * self.nodes, 2, rank // 2, self.nodes) for rank in range(2 * self.nodes)]
        return [plan_rank(place, mode, scope, base) for place in places]

    def runs(self, mode: str, scope: str) -> dict[str, StoredRun]:
        return {run.id: run for run in self.server.runs if run.project == f"{mode}-{scope}"}

    def noted(self, mode: str, scope: str) -> list[str | None]:
        files = [self.directory / f"{mode}-{scope}-{rank}.json" for rank in range(2 * self.nodes)]
        return [json.loads(file.read_text()) for file in files]


def asked_for(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """Return the modes of the tests that are to be run; each costs a training in four processes."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {
        (case.get("mode", "shared"), case.get("scope", "worker"))
        for case in params
        if case.get("launch") == request.param
    }
    return [mode for mode in MODES if mode in wanted]


@pytest.fixture(scope="module", params=[pytest.param(1, id="one-node", marks=NIGHTLY), pytest.param(2, id="two-nodes")])
def launch(request: pytest.FixtureRequest, launch_agents: LaunchAgents) -> Launch:
    with WandbServer() as server:
        script = PRELUDE + EVERY_MODE.replace("MODES", repr(asked_for(request)))
        job = launch_agents(script, nodes=request.param, **{**server.environment, "WANDB_MODE": "online"})
        wait_until_closed(server)
    assert job.exit_code == 0, job.output[-6000:]
    return Launch(request.param, job.directory, server, job.output)


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_right_number_of_runs_with_their_ids_groups_and_states(launch: Launch, mode: str, scope: str) -> None:
    runs, plans = launch.runs(mode, scope), launch.plans(mode, scope)

    assert set(runs) == {plan.run_id for plan in plans if plan}
    for plan in filter(None, plans):
        run = runs[plan.run_id]
        assert run.fields.get("groupName") in ({plan.group} if plan.group else {None, ""})
        assert (run.state, run.exit_code) == ("finished", 0)
        assert run.destroyed_rows == []
        if plan.label and mode != "shared":
            assert run.fields["displayName"] == plan.label


@pytest.mark.parametrize("mode", ["auto", "new", "shared"])
def test_training_names_the_address_of_each_nodes_run(launch: Launch, mode: str) -> None:
    firsts = [plan for plan in launch.plans(mode, "worker")[::2] if plan]
    place = f"{launch.server.url}/team/{mode}-worker"
    addresses = [f"{place}/groups/{plan.group}" if plan.group else f"{place}/runs/{plan.run_id}" for plan in firsts]
    links = Links.of_training(launch.directory / f"{mode}-worker")

    assert links.run == f"{place}/runs/{firsts[0].run_id}"
    assert links.nodes == ({f"worker-{node}": url for node, url in enumerate(addresses)} if launch.nodes > 1 else {})


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_every_logging_rank_is_given_its_run_and_the_others_none(launch: Launch, mode: str, scope: str) -> None:
    assert launch.noted(mode, scope) == [plan and plan.run_id for plan in launch.plans(mode, scope)]


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_rows_of_every_logging_rank_arrive(launch: Launch, mode: str, scope: str) -> None:
    runs = launch.runs(mode, scope)
    for rank, plan in enumerate(launch.plans(mode, scope)):
        if plan is None:
            continue
        prefix = f"ranks/{rank}/" if mode == "shared" and rank else ""
        rows = [row for row in runs[plan.run_id].history if f"{prefix}train/box_loss" in row]
        assert [row["epoch"] for row in rows] == [1]
        assert {f"{prefix}{loss}" for loss in LOSSES} <= rows[0].keys()
        assert ("metrics/mAP50(B)" in rows[0]) == (rank == 0)
        assert runs[plan.run_id].metrics["ranks/*"] == "epoch"
        assert runs[plan.run_id].values["epochs"] == 1


@pytest.mark.parametrize("scope", ["global", "worker"])
def test_shared_run_names_its_writers(launch: Launch, scope: str) -> None:
    runs = launch.runs("shared", scope)
    for plan in filter(None, launch.plans("shared", scope)):
        run = runs[plan.run_id]
        printed = [line for name, lines in run.streams.items() if name[0] == "output.log" for line in lines.lines]

        assert sum(f"[{plan.label}] this rank trains" in line for line in printed) == 1
        assert f"output_{plan.label}.log" in run.files
    writers = [{writer for name, writer in run.streams if name == "wandb-history.jsonl"} for run in runs.values()]
    assert sum(map(len, writers)) == 2 * launch.nodes


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_machine_is_measured_once_on_each_node(launch: Launch, mode: str, scope: str) -> None:
    runs, plans = launch.runs(mode, scope), launch.plans(mode, scope)
    measured = {
        (run.id, writer): json.loads(lines.lines[0])
        for run in runs.values()
        for (name, writer), lines in run.streams.items()
        if name == "wandb-events.jsonl"
    }
    firsts = [plan for plan in plans[::2] if plan]  # the first rank of each node

    assert sorted(run_id for run_id, _ in measured) == sorted(plan.run_id for plan in firsts)
    if mode == "shared":
        labels = {key.partition("/l:")[2] for event in measured.values() for key in event if key.startswith("system.")}
        assert labels == {plan.label for plan in firsts}


@pytest.mark.parametrize(("mode", "scope"), CELLS)
def test_best_checkpoint_is_logged_once_by_rank_0(launch: Launch, mode: str, scope: str) -> None:
    runs, first = launch.runs(mode, scope), launch.plans(mode, scope)[0]

    models = {run_id: [item for item in run.artifacts if item.type == "model"] for run_id, run in runs.items()}
    assert first
    assert {run_id: len(found) for run_id, found in models.items() if found} == {first.run_id: 1}


def test_messages_name_their_rank(launch: Launch) -> None:
    said = [line for line in launch.printed.splitlines() if "ultralytics_wb_ddp: " in line]

    assert said
    assert all("[RANK 0] " in line for line in said if "INFO" in line)  # the others say what goes wrong only
    assert not [line for line in said if "WARNING" in line]


# In Ultralytics' own launch, with a run of the launcher's


@NIGHTLY
def test_new_runs_stand_beside_the_launchers(run_online: RunOnline) -> None:
    _, server = run_online("""
    CFG["wandb"]["run_mode"] = "new"
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"before": 1})
        add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**{**TWO_PROCESSES, "epochs": 1})
        manager.resume_after_training()
        manager.run.log({"after": 1})
    """)

    runs = {run.id: run for run in server.runs}
    base = min(runs, key=len)
    assert runs.keys() == {base, f"{base}-rank-0", f"{base}-rank-1"}
    assert [key for row in runs[base].history for key in row if not key.startswith("_")] == ["before", "after"]
    assert {run.fields.get("groupName") for run in runs.values() if run.id != base} == {base}
    assert {run.state for run in runs.values()} == {"finished"}


@pytest.mark.parametrize("keep_open", [pytest.param(False, id="closed", marks=NIGHTLY), pytest.param(True, id="open")])
def test_launcher_is_a_writer_of_the_shared_run(run_online: RunOnline, keep_open: bool) -> None:  # noqa: FBT001
    _, server = run_online(f"""
    CFG["wandb"].update(run_mode="shared", keep_open={keep_open})
    with WandbManager(CFG, "job") as manager:
        manager.run.config.update({{"mine": 1}})
        manager.run.log({{"before": 1}})
        add_wandb_callback(model)
        manager.prepare_for_training()
        model.train(**{{**TWO_PROCESSES, "epochs": 1}})
        manager.resume_after_training()
        manager.run.log({{"after": 1}})
    """)

    (run,) = server.runs
    keys = [key for row in run.history for key in row]
    assert [keys.count(key) for key in ("before", "after", "train/box_loss", "ranks/1/train/box_loss")] == [1] * 4
    assert (run.state, run.exit_code, run.destroyed_rows) == ("finished", 0, [])
    assert run.values["mine"] == 1
    assert run.values["imgsz"] == 64


@pytest.mark.parametrize(
    ("rank", "mode", "state"),
    [
        pytest.param(0, "new", "failed", marks=NIGHTLY),
        pytest.param(1, "new", "failed", marks=NIGHTLY),
        pytest.param(0, "shared", "failed", marks=NIGHTLY),
        pytest.param(1, "shared", "failed", marks=NIGHTLY),
    ],
)
def test_killed_rank_ends_in_failed_runs_with_every_row(
    run_online: RunOnline, rank: int, mode: str, state: str
) -> None:
    _, server = run_online(
        f"""
    import signal, time
    def die(trainer):
        if trainer.epoch == 1 and os.environ["RANK"] == "{rank}":
            time.sleep(2)
            os.kill(os.getpid(), signal.SIGKILL)
    model.add_callback("on_train_epoch_start", die)
    add_wandb_callback(model, project="demo", run_mode="{mode}")
    model.train(**TWO_PROCESSES)
    """,
        check=False,
    )

    for run in server.runs:
        assert run.state == state
        losses = [key for row in run.history for key in row if key.endswith("train/box_loss")]
        assert len(losses) == (2 if mode == "shared" else 1)


# What cannot be is refused before anything is launched


PLAIN_RUN = """
import wandb
os.environ["WANDB_MODE"] = "online"
with wandb.init(project="demo", mode="offline") as run:
    add_wandb_callback(model, run=run, run_mode="shared")
    model.train(**TWO_PROCESSES)
"""


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        ("add_wandb_callback(model, run_mode='shared')", "run_mode='shared' with WANDB_MODE='offline'"),
        ("add_wandb_callback(model, run_mode='every')", "run_mode='every' is unknown; choose one of auto, new, shared"),
        ("CFG['wandb']['run_mode'] = 'shared'\nWandbManager(CFG, 'job').initialize()", "run_mode='shared' with mode="),
        ("os.environ['LOCAL_RANK'] = '0'\nadd_wandb_callback(model)", "LOCAL_RANK=0 is set and RANK is not"),
        (
            PLAIN_RUN,
            "which is open in mode='offline' and cannot have other writers",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_the_launcher(run_job: RunJob, statements: str, message: str) -> None:
    job = run_job(statements, check=False)

    assert job.exit_code == 1
    assert message in job.output
    assert "ConfigurationError" in job.output
    assert "torch.distributed.run" not in job.output
    assert not (job.directory / "train").exists()


@NIGHTLY
def test_every_rank_refuses_at_the_same_moment(launch_agents: LaunchAgents) -> None:
    job = launch_agents(
        PRELUDE
        + """
os.environ.pop("GROUP_RANK"), os.environ.pop("LOCAL_WORLD_SIZE")
try:
    add_wandb_callback(model, rank_scope="worker")
except ValueError as error:
    open(f"refused-{os.environ['RANK']}", "w").write(str(error))
"""
    )

    assert job.exit_code == 0
    for rank in (0, 1):
        assert "GROUP_RANK and LOCAL_WORLD_SIZE are not set" in (job.directory / f"refused-{rank}").read_text()
