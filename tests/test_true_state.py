"""However a training ends, its run says so and holds every row: real kills, real signals, real launches."""

from __future__ import annotations

import signal
import time

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, ONLINE, PRELUDE, LaunchAgents, RunJob, RunOnline, wait_until_closed
from support.measures import assert_is_one_whole_run

# The usages: a run that stays open in the launcher, one that is closed and resumed, and one that rank 0 makes.
OPEN = """
with WandbManager({"wandb": {**CFG["wandb"], "keep_open": True}}, "job") as manager:
    manager.run.log({"before": 1})
    add_wandb_callback(model)
    manager.prepare_for_training()
    model.train(**TWO_PROCESSES)
"""
CLOSED = OPEN.replace('"keep_open": True', '"keep_open": False')
OWN = """
add_wandb_callback(model, project="demo")
model.train(**TWO_PROCESSES)
"""
USERS = """
import wandb
with wandb.init(project="demo") as run:
    run.log({"before": 1})
    add_wandb_callback(model, run=run)
    model.train(**TWO_PROCESSES)
"""


def in_epoch_2(rank: int, *statements: str) -> str:
    """Return the part of a script that has a rank do something in the second epoch."""
    body = "\n        ".join(statements)
    return f"""
import signal, time
def in_epoch_2(trainer):
    if trainer.epoch == 1 and os.environ.get("RANK", "0") == "{rank}":
        {body}
model.add_callback("on_train_epoch_start", in_epoch_2)
"""


DISTRIBUTED = "from ultralytics_wb_ddp import train_distributed\n"
NAMES = {
    "open": "run open in the launcher",
    "closed": "run closed and resumed",
    "own": "run of rank 0",
    "users": "the script's run",
    "alone": "one process",
}
KILL = "time.sleep(2); os.kill(os.getpid(), signal.SIGKILL)"  # once rank 0 has logged the first epoch
TERMINATE = "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"


@pytest.mark.parametrize(
    ("usage", "rank"),
    [
        pytest.param(OPEN, 0, id="open-0", marks=NIGHTLY),
        pytest.param(OPEN, 1, id="open-1", marks=NIGHTLY),
        pytest.param(CLOSED, 0, id="closed-0", marks=NIGHTLY),
        pytest.param(CLOSED, 1, id="closed-1", marks=NIGHTLY),
        pytest.param(OWN, 0, id="own-0", marks=NIGHTLY),
        pytest.param(OWN, 1, id="own-1"),
    ],
)
def test_killed_worker_ends_in_a_failed_run_with_every_row(
    run_online: RunOnline, usage: str, rank: int, request: pytest.FixtureRequest
) -> None:
    job, server = run_online(in_epoch_2(rank, KILL) + usage, check=False)

    assert job.exit_code == 1
    kind = request.node.callspec.id.split("-")[0]
    assert_is_one_whole_run(f"rank {rank} killed, {NAMES[kind]}", server, epochs=[1], state="failed", exit_code=1)


def test_run_that_is_being_opened_is_failed_after_ctrl_c(run_online: RunOnline) -> None:
    job, server = run_online(
        """
import signal, threading, time
import wandb

def interrupt():
    while wandb.run is None:  # it is set before wandb.init has come to its end
        time.sleep(0.0001)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
with WandbManager(CFG, "job"):
    time.sleep(10)
""",
        check=False,
    )

    assert job.exit_code == -signal.SIGINT
    assert [(run.state, run.exit_code) for run in server.runs] == [("failed", 255)]


@pytest.mark.parametrize(
    ("usage", "exit_code"),
    [
        pytest.param(CLOSED, 1, id="closed", marks=NIGHTLY),
        pytest.param(OWN, 1, id="own", marks=NIGHTLY),
        pytest.param(OWN.replace("TWO_PROCESSES", "ONE_PROCESS"), 3, id="alone"),
    ],
)
def test_exit_code_of_a_training_is_the_runs(
    run_online: RunOnline, usage: str, exit_code: int, request: pytest.FixtureRequest
) -> None:
    job, server = run_online(in_epoch_2(0, "raise SystemExit(3)") + usage, check=False)

    assert job.exit_code == exit_code  # of the launcher, which Ultralytics gives 1
    name = NAMES[request.node.callspec.id]
    assert_is_one_whole_run(f"SystemExit(3) in rank 0, {name}", server, epochs=[1], state="failed", exit_code=3)


@pytest.mark.parametrize(
    ("usage", "rank"),
    [
        pytest.param(OWN, 1, id="own-1"),
        pytest.param(OPEN, 1, id="open-1", marks=NIGHTLY),
        pytest.param(USERS, 1, id="users-1", marks=NIGHTLY),
        pytest.param(CLOSED, 1, id="closed-1", marks=NIGHTLY),
        pytest.param(OPEN, 0, id="open-0"),
        pytest.param(USERS, 0, id="users-0", marks=NIGHTLY),
    ],
)
def test_exit_code_of_any_rank_is_the_runs(
    run_online: RunOnline, usage: str, rank: int, request: pytest.FixtureRequest
) -> None:
    job, server = run_online(in_epoch_2(rank, "time.sleep(2)", "raise SystemExit(3)") + usage, check=False)

    assert job.exit_code == 1
    name = NAMES[request.node.callspec.id.split("-")[0]]
    assert_is_one_whole_run(f"SystemExit(3) in rank {rank}, {name}", server, epochs=[1], state="failed", exit_code=3)


@pytest.mark.parametrize("keep_open", [True, pytest.param(False, marks=NIGHTLY)])
def test_exit_code_of_another_rank_is_that_of_a_run_whose_manager_is_in_rank_0(
    launch_agents: LaunchAgents, *, keep_open: bool
) -> None:
    usage = (OPEN if keep_open else CLOSED).replace("model.train(", "train_distributed(model, ")
    usage = usage.replace("manager.run.log", "manager.run and manager.run.log")  # which the other rank has not
    script = f"{PRELUDE}{ONLINE}{DISTRIBUTED}{in_epoch_2(1, 'time.sleep(2)', 'raise SystemExit(3)')}{usage}"
    with WandbServer() as server:
        job = launch_agents(script, **server.environment)
        wait_until_closed(server)

    assert job.exit_code == 1, job.output
    title = f"SystemExit(3) in rank 1, torchrun, run {'open' if keep_open else 'closed'}"
    assert_is_one_whole_run(title, server, epochs=[1], state="failed", exit_code=3)


def test_callback_that_fails_after_the_training_makes_it_a_failed_one(run_online: RunOnline) -> None:
    usage = OWN.replace("TWO_PROCESSES", "ONE_PROCESS")
    fail = """
def fail(trainer):
    raise SystemExit(3)
"""
    script = f"{fail}{usage}".replace("model.train", "model.add_callback('teardown', fail)\nmodel.train")
    job, server = run_online(script, check=False)

    assert job.exit_code == 3
    assert_is_one_whole_run("teardown callback fails", server, epochs=[1, 2, 2, 2], state="failed", exit_code=3)


@NIGHTLY
def test_exception_in_rank_1_ends_in_a_failed_run(run_online: RunOnline) -> None:
    fail = ("time.sleep(2)", "raise RuntimeError('of rank 1')")
    job, server = run_online(in_epoch_2(1, *fail) + OWN, check=False)

    assert job.exit_code == 1
    assert_is_one_whole_run("exception in rank 1, run of rank 0", server, epochs=[1], state="failed", exit_code=1)


@pytest.mark.parametrize(
    ("usage", "rank"),
    [
        pytest.param(OWN, 0, id="own-0", marks=NIGHTLY),
        pytest.param(OWN, 1, id="own-1"),
        pytest.param(OPEN, 1, id="open-1", marks=NIGHTLY),
        pytest.param(CLOSED, 1, id="closed-1", marks=NIGHTLY),
    ],
)
def test_preempted_worker_marks_the_run(
    run_online: RunOnline, usage: str, rank: int, request: pytest.FixtureRequest
) -> None:
    job, server = run_online(in_epoch_2(rank, "time.sleep(2)", TERMINATE) + usage, check=False)

    assert job.exit_code == 1
    title = f"SIGTERM to rank {rank}, {NAMES[request.node.callspec.id.split('-')[0]]}"
    assert_is_one_whole_run(title, server, epochs=[1], state="preempted", exit_code=143)


def test_worker_preempted_in_a_collective_marks_the_run(run_online: RunOnline) -> None:
    signal_rank_0 = (
        "time.sleep(3)",  # rank 0 waits for this rank's gradients by now, where no Python code runs
        "os.kill(int(open('rank-0.pid').read()), signal.SIGTERM)",
        "time.sleep(60)",
    )
    note_pid = """
def note_pid(trainer):
    open(f"rank-{os.environ['RANK']}.pid", "w").write(str(os.getpid()))
model.add_callback("on_train_start", note_pid)
"""
    job, server = run_online(note_pid + in_epoch_2(1, *signal_rank_0) + OWN, check=False)

    assert job.exit_code == 1
    assert_is_one_whole_run("SIGTERM to rank 0 in a collective", server, epochs=[1], state="preempted", exit_code=143)


@pytest.mark.parametrize(
    ("usage", "exit_code"),
    [
        pytest.param(OPEN, 143, id="open", marks=NIGHTLY),
        pytest.param(CLOSED, 143, id="closed", marks=NIGHTLY),
        pytest.param(USERS, 1, id="users"),  # the user's own "with wandb.init()" says 1
    ],
)
def test_preempted_launcher_marks_the_run(
    run_online: RunOnline, usage: str, exit_code: int, request: pytest.FixtureRequest
) -> None:
    launcher = "time.sleep(2); os.kill(int(os.environ['LAUNCHER']), signal.SIGTERM); time.sleep(60)"
    note_pid = "os.environ['LAUNCHER'] = str(os.getpid())\n"
    job, server = run_online(note_pid + in_epoch_2(1, launcher) + usage, check=False)

    assert job.exit_code != 0
    name = NAMES[request.node.callspec.id]
    assert_is_one_whole_run(
        f"SIGTERM to the launcher, {name}", server, epochs=[1], state="preempted", exit_code=exit_code
    )


@pytest.mark.parametrize(
    ("usage", "order"),
    [
        pytest.param(USERS, "reversed", id="users-workers-first"),
        pytest.param(USERS, "list", id="users-launcher-first", marks=NIGHTLY),
        pytest.param(OPEN, "reversed", id="open-workers-first", marks=NIGHTLY),
        pytest.param(CLOSED, "reversed", id="closed-workers-first", marks=NIGHTLY),
        pytest.param(CLOSED, "list", id="closed-launcher-first", marks=NIGHTLY),
        pytest.param(USERS.replace("TWO_PROCESSES", "ONE_PROCESS"), "list", id="alone", marks=NIGHTLY),
    ],
)
def test_launch_of_which_every_process_is_terminated_is_preempted(run_job: RunJob, usage: str, order: str) -> None:
    everybody = (
        "import psutil, subprocess",
        "launcher = psutil.Process(int(os.environ['LAUNCHER']))",
        "launch = [each for each in [launcher, *launcher.children(recursive=True)] if 'python' in each.name()]",
        f"kill = '; '.join(f'kill -TERM {{each.pid}}' for each in {order}(launch))",
        "subprocess.Popen(['sh', '-c', kill], start_new_session=True)",
        "time.sleep(60)",
    )
    note_pid = "os.environ['LAUNCHER'] = str(os.getpid())\n"
    job = run_job(note_pid + in_epoch_2(0, *everybody) + usage, check=False)

    assert job.exit_code == 143, job.output[-3000:]
    assert {run.exit_code for run in job.runs} <= {143, 1}


@NIGHTLY
@pytest.mark.parametrize("usage", [pytest.param(CLOSED, id="closed"), pytest.param(OWN, id="own")])
def test_ctrl_c_during_the_training_ends_in_the_state_of_an_interrupt(
    run_online: RunOnline, usage: str, request: pytest.FixtureRequest
) -> None:
    ctrl_c = ("time.sleep(2)", "os.killpg(int(os.environ['TERMINAL']), signal.SIGINT)", "time.sleep(60)")
    group = "os.setpgid(0, 0)\nos.environ['TERMINAL'] = str(os.getpgid(0))\n"
    job, server = run_online(group + in_epoch_2(1, *ctrl_c) + usage, check=False)

    assert job.exit_code != 0
    name = NAMES[request.node.callspec.id]
    assert_is_one_whole_run(f"Ctrl-C during the training, {name}", server, epochs=[1], state="failed", exit_code=255)


@pytest.mark.parametrize(
    ("end", "state", "exit_code"),
    [
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", "failed", 1, id="killed"),
        pytest.param("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", "preempted", 143, id="terminated"),
        pytest.param("raise ValueError", "failed", 1, id="failed"),
        pytest.param("pass  # another job trains", "finished", 0, id="done"),
    ],
)
def test_run_that_no_worker_takes_up_ends_as_its_launcher(
    run_job: RunJob, end: str, state: str, exit_code: int, request: pytest.FixtureRequest
) -> None:
    script = f"""
import signal, time
manager = WandbManager(CFG, "job")
manager.initialize()
manager.run.log({{"before": 1}})
manager.prepare_for_training()
{end}
"""
    with WandbServer() as server:
        run_job(ONLINE + script, check=False, **server.environment)
        deadline = time.monotonic() + 60
        while server.runs[0].state != state and time.monotonic() < deadline:
            time.sleep(0.5)
        time.sleep(1)  # in which a wrong end may arrive

    name = f"launcher {request.node.callspec.id}, run closed and not yet resumed"
    run = assert_is_one_whole_run(name, server, epochs=[], state=state, exit_code=exit_code)
    assert [row["before"] for row in run.history] == [1]


def test_interrupted_launcher_ends_in_the_state_of_an_interrupt(run_online: RunOnline) -> None:
    script = """
    with WandbManager(CFG, "job") as manager:
        manager.run.log({"before": 1})
        raise KeyboardInterrupt
    """
    job, server = run_online(script, check=False)

    assert job.exit_code != 0
    assert_is_one_whole_run("Ctrl-C in the launcher", server, epochs=[], state="failed", exit_code=255)


@pytest.mark.parametrize(("end", "exit_code"), [("raise SystemExit(3)", 3), ("sys.exit(4)", 4), ("1 / 0", 1)])
def test_exit_code_of_the_launcher_is_the_runs(run_online: RunOnline, end: str, exit_code: int) -> None:
    job, server = run_online(f"with WandbManager(CFG, 'job'):\n    {end}", check=False)

    assert job.exit_code == exit_code
    assert_is_one_whole_run(f"{end} in the launcher", server, epochs=[], state="failed", exit_code=exit_code)


def test_launcher_killed_with_its_children_ends_in_a_failed_run_with_every_row(run_online: RunOnline) -> None:
    script = """
    import psutil, signal
    manager = WandbManager(CFG, "job")
    manager.initialize()
    manager.run.log({"before": 1})
    for child in psutil.Process().children():  # as Ray does
        child.kill()
    os.kill(os.getpid(), signal.SIGKILL)
    """
    _, server = run_online(script, check=False)

    run = assert_is_one_whole_run("launcher killed before the training", server, epochs=[], state="failed", exit_code=1)
    assert [row["before"] for row in run.history] == [1]


def test_finishing_twice_is_harmless(run_online: RunOnline) -> None:
    _, server = run_online("""
    manager = WandbManager(CFG, "job")
    manager.initialize()
    manager.run.log({"before": 1})
    manager.finish(exit_code=3)
    manager.finish()
    """)

    run = assert_is_one_whole_run("finish() twice", server, epochs=[], state="failed", exit_code=3)
    assert len(run.history) == 1


def test_preempted_process_ends_after_its_run(run_job: RunJob) -> None:
    script = """
    import psutil, signal, subprocess, time
    manager = WandbManager(CFG, "job")
    if "PREEMPTED" in os.environ:
        manager.initialize()
        manager.run.log({"before": 1})
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    process = subprocess.Popen([sys.executable, *sys.argv], env={**os.environ, "PREEMPTED": "yes"})
    exit_code = process.wait()
    commands = [other.info["cmdline"] or [] for other in psutil.process_iter(["cmdline"])]
    beside = [words for words in commands if "ultralytics_wb_ddp.runs.service_process" in words and str(process.pid) in words]
    print("exit code", exit_code, "beside it", beside)
    """
    job = run_job(script)

    # A container and a step of Slurm's end with their process, and so does whatever is beside it.
    assert "exit code 143 beside it []" in job.output
    assert (job.run.state, job.run.exit_code) == ("failed", 143)
    assert [row["before"] for row in job.run.history] == [1]
