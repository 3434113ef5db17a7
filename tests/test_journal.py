"""The journal of a run: from one path to all its sessions, and what its last session left is sent by the next one."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from wandb_server import WandbServer

from support.jobs import NIGHTLY, PRELUDE, Job, RunJob, job_environment, run_command, run_in
from support.measures import epochs_of
from ultralytics_wb_ddp.runs.journal import (
    JOURNAL_FILE,
    find_sessions,
    read_journal,
    record,
    record_end,
    record_opening,
)

FIRST, SECOND, THIRD = (f"run-20260101_00000{number}-abc" for number in (1, 2, 3))


def make_session(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / f"run-{folder.name.rpartition('-')[2]}.wandb").write_bytes(b":W&B\0\0\0")
    return folder


def names(*paths: Path) -> list[str]:
    return [session.folder.name for session in find_sessions(paths)]


def test_session_is_described_from_its_opening_to_its_end(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "wandb" / FIRST)
    record_opening([tmp_path, folder], folder, "abc", mode="online", first_step=3)
    (opened,) = read_journal(tmp_path)
    record_end([tmp_path, folder], folder, exit_code=2, next_step=7, is_sent=False)
    (ended,) = read_journal(tmp_path)

    assert (opened.id, opened.mode, opened.pid, opened.first_step) == ("abc", "online", os.getpid(), 3)
    assert opened.live_pid == os.getpid()
    assert (ended.exit_code, ended.next_step, ended.is_sent, ended.live_pid) == (2, 7, False, None)
    assert read_journal(folder) == [ended]


def test_session_that_was_killed_with_its_service_process_is_cut_off(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "wandb" / FIRST)
    record_opening([tmp_path], folder, "abc", mode="online", first_step=0, service_pid=os.getpid())
    (opened,) = read_journal(tmp_path)
    assert not opened.is_cut_off, "it is open"

    record([tmp_path], folder, pid=2**22 + 1, service_pid=2**22 + 1)  # no process has these ids
    (killed,) = read_journal(tmp_path)
    assert killed.is_cut_off

    record_end([tmp_path], folder, exit_code=1, next_step=1, is_sent=True)
    assert not read_journal(tmp_path)[0].is_cut_off, "all of it was sent"


def test_line_that_a_crash_has_cut_off_hides_no_other_line(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "wandb" / FIRST)
    record([tmp_path], folder, id="abc", next_step=1)
    with (tmp_path / JOURNAL_FILE).open("a", encoding="utf-8") as file:
        file.write('{"folder": "wandb/run-2026')
    record([tmp_path], folder, next_step=2)
    record([tmp_path], folder, next_step=3)

    assert [session.next_step for session in read_journal(tmp_path)] == [3]


def test_training_leads_to_the_sessions_of_the_launcher_and_each_session_to_all(tmp_path: Path) -> None:
    launcher = make_session(tmp_path / "job" / "wandb" / FIRST)
    reopened = make_session(tmp_path / "job" / "wandb" / THIRD)
    training = tmp_path / "runs" / "train"
    worker = make_session(training / "wandb" / SECOND)
    make_session(tmp_path / "job" / "wandb" / "run-20260101_000004-other")
    record([training, launcher, worker], worker, id="abc")
    record([training, worker], launcher, id="abc")

    for path in (training, launcher, worker, reopened):
        assert names(path) == [FIRST, SECOND, THIRD], path


def test_training_that_was_moved_leads_to_its_sessions(tmp_path: Path) -> None:
    training = tmp_path / "train"
    record([training], make_session(training / "wandb" / FIRST), id="abc")
    training.rename(tmp_path / "moved")

    assert [session.folder for session in find_sessions([tmp_path / "moved"])] == [tmp_path / "moved" / "wandb" / FIRST]


def test_journal_that_cannot_be_written_harms_nothing(tmp_path: Path) -> None:
    folder = make_session(tmp_path / "wandb" / FIRST)
    record([tmp_path / "deleted", tmp_path], folder, id="abc")

    assert names(tmp_path) == [FIRST]


# Trainings

# After the second epoch every process of the job is killed at once, as by the memory's end: the row has not been sent.
KILLED_WHOLE = """
def die(trainer):
    if trainer.epoch == 1:
        import psutil, signal, time
        time.sleep(3)  # the row is on disk
        torchrun = psutil.Process().parent()
        job = [torchrun, *torchrun.children(recursive=True), torchrun.parent()]
        beside = [process for process in psutil.process_iter() if "service_process" in " ".join(process.cmdline())]
        of_this_job = [process for process in beside if process.environ().get("HOME") == os.environ["HOME"]]
        for process in [*of_this_job, *sum((process.children() for process in of_this_job), []), *job]:
            process.kill()
add_wandb_callback(model, project="demo", mode="online")
model.add_callback("on_fit_epoch_end", die)
model.train(**{**TWO_PROCESSES, "epochs": 3})
"""
RESUME = """
model = YOLO("train/weights/last.pt")
add_wandb_callback(model, mode="online")
model.train(resume=True, device="0,1", trainer=CpuDDPTrainer)
"""


def run_again(job: Job, script: str, server: WandbServer) -> Job:
    """Run another script in the directory of a job."""
    environment = {**job_environment(job.directory, Path(os.environ.get("DATA", job.directory))), **server.environment}
    (job.directory / "again.py").write_text(PRELUDE.replace('os.environ["DATA"]', "''") + script, encoding="utf-8")
    return run_in(job.directory, [sys.executable, "again.py"], {**environment, "WANDB_MODE": "online"})


def test_resumed_training_first_sends_what_the_killed_session_has_not_sent(run_job: RunJob) -> None:
    with WandbServer() as server:
        stalled = server.faults.add("FileStream", status=503)
        job = run_job(KILLED_WHOLE, check=False, **{**server.environment, "WANDB_MODE": "online"})
        assert server.runs[0].history == [], "nothing has been sent"
        stalled.remove()

        resumed = run_again(job, RESUME, server)

    (run,) = server.runs
    assert epochs_of(run) == [1, 2, 3, 3, 3]
    assert run.destroyed_rows == []
    assert (run.state, run.exit_code) == ("finished", 0)
    assert "W&B has not got" not in resumed.output


def commands_in(output: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"with: (ultralytics-wb-ddp sync .*)", output)))


def call(command: str, job: Job, server: WandbServer) -> None:
    done = run_command(job.directory, *shlex.split(command)[1:], timeout=200, **server.environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("moment", ["on_train_start", pytest.param("on_train_epoch_end", marks=NIGHTLY)])
def test_artifacts_that_have_not_arrived_are_sent_by_the_command(run_job: RunJob, tmp_path: Path, moment: str) -> None:
    with WandbServer() as server:
        server.faults.add("*", status=503, when=lambda _: (tmp_path / "down").exists())
        job = run_job(
            f"""\
def take_down(trainer):
    if getattr(trainer, "epoch", 0) == {int(moment == "on_train_epoch_end")}:
        open(os.environ["MARK"], "w").close()
model.add_callback("{moment}", take_down)
add_wandb_callback(model, project="demo", finish_timeout=5)
model.train(**{{**ONE_PROCESS, "plots": True}})
""",
            **{**server.environment, "WANDB_MODE": "online", "MARK": str(tmp_path / "down")},
        )
        (command,) = commands_in(job.output)
        server.faults.clear()
        call(command, job, server)
        call(command, job, server)

    (run,) = server.runs
    assert epochs_of(run) == [1, 2, 2, 2]
    assert (run.state, run.exit_code) == ("finished", 0)
    assert {artifact.type for artifact in run.artifacts} >= {"model", "run_table"}
    assert {artifact.type for artifact in run.used_artifacts} >= {"config", "dataset"}
    assert all(artifact.state == "COMMITTED" for artifact in [*run.artifacts, *run.used_artifacts])
    assert len({artifact.name for artifact in run.artifacts}) == len(run.artifacts), "none is there twice"


def test_training_that_wandb_refused_is_sent_before_its_manager_continues_the_run(
    run_job: RunJob, tmp_path: Path
) -> None:
    with WandbServer() as server:
        server.backend.store.count_lag = 3.0
        server.faults.add("*", status=503, when=lambda _: [file.name for file in tmp_path.iterdir()] == ["begins"])
        job = run_job(
            """\
from pathlib import Path
manager = WandbManager({"wandb": {"project": "demo", "mode": "online", "init_timeout": 5}}, "job")
run, _ = manager.initialize()
run.log({"before": 1})
add_wandb_callback(model)
manager.prepare_for_training()
Path(os.environ["PLACE"], "begins").touch()
model.train(**TWO_PROCESSES)
Path(os.environ["PLACE"], "ends").touch()
run = manager.resume_after_training()
run.log({"after": 1})
manager.finish()
""",
            **{**server.environment, "PLACE": str(tmp_path)},
        )

    (run,) = server.runs
    assert "is written to disk, send it with: ultralytics-wb-ddp sync" in job.output
    assert epochs_of(run) == [1, 2, 2, 2], job.output
    assert [key for row in run.history for key in ("before", "after") if key in row] == ["before", "after"]
    assert (run.state, run.exit_code, run.destroyed_rows) == ("finished", 0, [])
    assert run.config["epochs"]["value"] == 2


WITH_MANAGER = """
import psutil
manager = WandbManager({"wandb": {"project": "demo", "mode": "online", "keep_open": True}}, "job")
run, _ = manager.initialize()
run.log({"before": 1})
def kill_beside(trainer):
    if getattr(trainer, "epoch", 0) > 0:
        return
    for process in psutil.process_iter(["cmdline", "environ"]):
        is_beside = "service_process" in " ".join(process.info["cmdline"] or ())
        if is_beside and (process.info["environ"] or {}).get("HOME") == os.environ["HOME"]:
            process.kill()
add_wandb_callback(model)
model.add_callback("EVENT", kill_beside)
manager.prepare_for_training()
model.train(**TWO_PROCESSES)
run = manager.resume_after_training()
run.log({"after": 1})
manager.finish()
"""


@pytest.mark.parametrize("event", ["on_pretrain_routine_end", "on_fit_epoch_end"])
def test_run_whose_service_process_is_killed_during_the_training_is_continued_after_it(
    run_job: RunJob, event: str
) -> None:
    with WandbServer() as server:
        job = run_job(WITH_MANAGER.replace("EVENT", event), **server.environment)
        for command in commands_in(job.output):
            call(command, job, server)

    (run,) = server.runs
    assert sorted(epochs_of(run)) == [1, 2, 2, 2], job.output
    assert [key for row in run.history for key in ("before", "after") if key in row] == ["before", "after"]
    assert (run.state, run.exit_code, run.destroyed_rows) == ("finished", 0, [])
    assert run.config["epochs"]["value"] == 2


def test_row_of_a_wandb_core_that_is_killed_at_once_is_logged_again(run_job: RunJob) -> None:
    with WandbServer() as server:
        job = run_job(
            """\
import psutil
from ultralytics_wb_ddp.runs.open_runs import registry
def kill_wandb_core(trainer):
    if trainer.epoch == 0:
        for open_run in registry.opened.values():
            for process in psutil.Process(open_run.service_process.pid).children():
                process.kill()
add_wandb_callback(model, project="demo", mode="online")
model.add_callback("on_fit_epoch_end", kill_wandb_core)
model.train(**ONE_PROCESS)
""",
            **server.environment,
        )
        for command in commands_in(job.output):
            call(command, job, server)

    (run,) = server.runs
    assert epochs_of(run) == [1, 2, 2, 2], job.output
    assert (run.state, run.exit_code) == ("finished", 0)
