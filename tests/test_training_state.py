"""Trainings that can be resumed, are over or have not begun, and the end of a run whose training was killed at its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from omegaconf import OmegaConf
from test_jobs import ONE_PROCESS, TWO_PROCESSES, run_example
from wandb_server import WandbServer

from support.jobs import NIGHTLY, RunJob, wait_until_closed
from support.releases import Releases
from ultralytics_wb_ddp import ConfigurationError, TrainingState
from ultralytics_wb_ddp.artifacts import training_state
from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Progress
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.cli.train import describe_job
from ultralytics_wb_ddp.jobs.checks import find_training_state
from ultralytics_wb_ddp.jobs.schema import Job
from ultralytics_wb_ddp.runs.run_record import RunRecord

CUT_OFF = {"epoch": 0, "optimizer": {"state": {}}, "train_args": {"epochs": 3, "optimizer": "auto"}}
STRIPPED = {"date": "today", "epoch": -1, "optimizer": None, "train_args": {"epochs": 3}, "ema": None}


@pytest.fixture
def training(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    return tmp_path


def save(content: dict[str, Any], training: Path) -> None:
    torch.save(content, training / "weights" / "last.pt")


@pytest.mark.parametrize(
    ("content", "can_be_resumed", "is_over"),
    [
        pytest.param(CUT_OFF, True, False, id="cut-off"),
        pytest.param({**CUT_OFF, "epoch": 2}, False, True, id="killed-after-the-last-epoch"),
        pytest.param(STRIPPED, False, True, id="stripped"),
        pytest.param({**CUT_OFF, "optimizer": None}, False, True, id="without-optimizer"),
        pytest.param({"epoch": 7, "optimizer": {}}, True, False, id="epochs-unknown"),
    ],
)
def test_training_can_be_resumed_or_is_over(
    training: Path, content: dict[str, Any], *, can_be_resumed: bool, is_over: bool
) -> None:
    save(content, training)

    state = TrainingState.of(training)

    assert (state.can_be_resumed, state.is_over) == (can_be_resumed, is_over)


def test_training_without_a_checkpoint_is_neither_over_nor_to_be_resumed(tmp_path: Path) -> None:
    state = TrainingState.of(tmp_path / "train")

    assert not state.can_be_resumed
    assert not state.is_over
    assert str(state) == f"there is no training in {tmp_path / 'train'}"


def test_state_says_how_far_the_training_came_and_in_which_run(training: Path) -> None:
    save({**STRIPPED, "train_results": {"epoch": [1, 2]}}, training)
    RunRecord("abc", "demo").save(training, closed=True)

    state = TrainingState.of(training / "weights" / "last.pt")

    assert str(state) == f"the training in {training} is over: 2 of 3 epochs, run abc"
    assert (state.run_id, state.is_run_open) == ("abc", False)


def test_state_of_a_training_of_one_epoch_names_one_epoch(training: Path) -> None:
    save({**STRIPPED, "train_args": {"epochs": 1}, "train_results": {"epoch": [1]}}, training)

    assert str(TrainingState.of(training)).endswith("is over: 1 of 1 epoch")


def test_run_of_a_job_that_has_not_come_to_its_end_is_open_although_the_training_has_closed_it(training: Path) -> None:
    save(STRIPPED, training)
    RunRecord("abc", "demo", is_job_run=True).save(training, closed=True)

    assert TrainingState.of(training).is_run_open


def test_number_of_epochs_is_that_of_the_directory_where_the_checkpoint_does_not_say_it(training: Path) -> None:
    save({"epoch": 1, "optimizer": {}}, training)
    (training / "args.yaml").write_text("epochs: 2\n")

    assert TrainingState.of(training).is_over


def test_damaged_checkpoint_is_an_error_that_names_it(training: Path) -> None:
    (training / "weights" / "last.pt").write_bytes(b"half a checkpoint")

    with pytest.raises(ConfigurationError, match=r"last\.pt' is no complete checkpoint \(17 bytes\).*put back a copy"):
        TrainingState.of(training)


def test_checkpoint_is_read_without_running_what_it_names(training: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(training / "harm"),)

    save({**CUT_OFF, "model": Harmful(), "path": training}, training)

    assert Progress.read(training / "weights" / "last.pt") == Progress(0, 3, has_optimizer=True, trained=1)
    assert not (training / "harm").exists()


def test_state_is_known_without_torch_and_wandb(training: Path) -> None:
    save(CUT_OFF, training)
    script = (
        "import sys; from ultralytics_wb_ddp import TrainingState; assert TrainingState.of(sys.argv[1]).can_be_resumed;"
        "assert not {'torch', 'wandb', 'ultralytics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(training)], check=True, timeout=60)


def job_that_resumes(resume: Any, model: Path) -> Job:
    train = {"data": "coco8.yaml", "resume": resume}
    return Job.from_cfg({"wandb": {"project": "demo"}, "model": str(model), "train": train})


@pytest.mark.parametrize(
    ("resume", "message"),
    [
        (
            "nowhere/last.pt",
            r"train.resume='nowhere/last.pt': there is no such file, and Ultralytics would go on with the newest",
        ),
        (True, r"last.pt' holds nothing to resume and is not a training's; name the weights/last.pt of a training"),
    ],
)
def test_job_that_resumes_what_is_no_training_is_refused(training: Path, resume: Any, message: str) -> None:
    save(STRIPPED, training)

    with pytest.raises(ConfigurationError, match=message):
        find_training_state(job_that_resumes(resume, training / "weights" / "last.pt"))


@pytest.mark.parametrize("model", ["yolo11n.yaml", "yolo11n"])
def test_job_that_resumes_a_model_without_a_checkpoint_is_refused(model: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"train.resume=True: model='{model}' is no checkpoint, .*last.pt"):
        find_training_state(job_that_resumes(resume=True, model=Path(model)))


def test_dry_run_of_a_job_says_that_its_training_is_over(training: Path) -> None:
    save(STRIPPED, training)
    RunRecord("abc", "demo").save(training, closed=True)

    said = dict(describe_job(job_that_resumes(resume=True, model=training / "weights" / "last.pt")))

    assert said["resumes"].endswith("is over: ? of 3 epochs, run abc: nothing is trained")


@pytest.mark.parametrize(
    ("content", "closed", "words"),
    [
        pytest.param(CUT_OFF, True, "run abc is continued project first of the default entity", id="resumed"),
        pytest.param(STRIPPED, True, "run abc: nothing is trained data", id="over"),
        pytest.param(
            STRIPPED, False, "run abc: nothing is trained, and the run is completed data", id="killed-at-its-end"
        ),
    ],
)
def test_dry_run_of_a_job_that_resumes_names_the_run_of_its_training(
    training: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any], *, closed: bool, words: str
) -> None:
    monkeypatch.chdir(training)
    save(content, training)
    RunRecord("abc", "first").save(training, closed=closed)
    train = {"data": "coco8.yaml", "resume": True, "device": "cpu"}
    job = {"wandb": {"project": "demo", "mode": "offline"}, "model": "weights/last.pt", "train": train}
    OmegaConf.save(OmegaConf.create(job), "job.yaml")

    said = CliRunner().invoke(main, ["train", "job.yaml", "--dry-run"])

    shown = " ".join(said.output.split())
    assert said.exit_code == 0, shown
    assert words in shown
    assert "a new one is created" not in shown


def test_doctor_names_the_run_that_a_job_continues(training: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(training)
    RunRecord("abc", "first").save(training, closed=True)
    job = {"wandb": {"project": "demo", "mode": "offline"}, "model": {"weights": "weights/last.pt", "task": "detect"}}
    OmegaConf.save(OmegaConf.create({**job, "train": {"data": "coco8.yaml", "resume": True}}), "job.yaml")

    said = " ".join(CliRunner().invoke(main, ["doctor", "--config", "job.yaml"]).output.split())

    assert "run abc is continued project first of the default entity" in said


# Real trainings, killed at their very end

DYING = """
import os, signal
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

class Dying(CpuDDPTrainer if os.environ["PROCESSES"] == "2" else DetectionTrainer):
    def die(self, place):
        if os.environ["DIES_IN"] == place:
            os.kill(os.getppid() if os.environ["PROCESSES"] == "2" else os.getpid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def save_model(self):
        saved = super().save_model()
        if self.epoch + 1 == self.epochs:
            self.die("save_model")
        return saved

    def final_eval(self):
        super().final_eval()
        self.die("final_eval")
"""


def files_below(directory: Path) -> dict[str, tuple[int, bytes]]:
    files = (file for file in directory.rglob("*") if file.is_file())
    return {str(file): (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


@pytest.mark.parametrize(
    ("processes", "mode", "dies_in", "epochs"),
    [
        pytest.param("1", "online", "final_eval", [1, 2, 2], id="online"),
        pytest.param("1", "online", "save_model", [1, 2], id="before-the-last-row", marks=NIGHTLY),
        pytest.param("1", "offline", "final_eval", [], id="offline", marks=NIGHTLY),
        pytest.param("2", "online", "final_eval", [1, 2, 2], id="two-processes", marks=NIGHTLY),
    ],
)
def test_job_that_was_killed_at_its_very_end_gets_its_run_finished_once_and_is_not_trained_again(
    tmp_path: Path, shapes: Path, processes: str, mode: str, dies_in: str, epochs: list[int]
) -> None:
    (tmp_path / "dying.py").write_text(DYING)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    directory = tmp_path / "runs/coco8-baseline"
    words = [*(ONE_PROCESS if processes == "1" else TWO_PROCESSES), f"wandb.mode={mode}", "artifacts={}"]
    resume = [f"model={directory / 'weights/last.pt'}", "train.resume=true"]
    with WandbServer() as server:
        env = {**server.environment, "PYTHONPATH": path, "PROCESSES": processes, "DIES_IN": dies_in}
        died = run_example(tmp_path, shapes, *words, "train.trainer=dying:Dying", **env)
        if mode == "online":
            wait_until_closed(server)
            (run,) = server.runs
            assert (died.returncode != 0, run.state) == (True, "failed")
        trained = files_below(directory)
        record = RunRecord.find(directory, None)
        assert record is not None
        assert record.is_open

        again = run_example(tmp_path, shapes, *words, *resume, **env)
        ended = files_below(directory)
        once_more = run_example(tmp_path, shapes, *words, *resume, **env)

    assert (again.returncode, once_more.returncode) == (0, 0), again.stderr[-5000:]
    for said in (again.stderr, once_more.stderr):
        assert f"is over: 2 of 2 epochs, run {record.id}: nothing is trained" in " ".join(said.split())
    ours = ("wandb_run.json", "wandb_journal.jsonl")
    kept = [file for file in trained if not file.endswith(ours) and "/wandb/" not in file]
    assert {file: ended[file] for file in kept} == {file: trained[file] for file in kept}
    assert files_below(directory) == ended
    if mode == "online":
        (run,) = server.runs
        assert (run.state, run.exit_code, run.sessions) == ("finished", 0, 2)
        assert [row["epoch"] for row in run.history if "epoch" in row] == epochs


def test_run_of_a_training_that_was_killed_at_its_very_end_is_finished_with_its_best_checkpoint(
    run_job: RunJob, release: Path, releases: Releases
) -> None:
    job = run_job(
        """
import signal
def die(trainer):
    os.kill(os.getpid(), signal.SIGKILL)
model.add_callback("on_train_end", die)
add_wandb_callback(model, project="demo", checkpoints="best+last")
if os.fork() == 0:
    model.train(**ONE_PROCESS)
os.wait()

from ultralytics_wb_ddp import TrainingState
state = TrainingState.of("train")
print("FIRST", state.is_run_open, state.finish_run(checkpoints="best"))
print("SECOND", TrainingState.of("train").is_run_open, TrainingState.of("train").finish_run())
""",
        PYTHONPATH=releases.path(release),
    )
    last = max(job.runs, key=lambda run: run.path.stat().st_mtime_ns)

    assert "FIRST True True" in job.output
    assert "SECOND False False" in job.output
    assert len({run.id for run in job.runs}) == 1
    assert len(job.runs) == 2
    assert (last.state, last.exit_code) == ("finished", 0)
    assert any("best" in artifact.aliases for artifact in last.artifacts)
    assert any(name.startswith("final/metrics/") for name in last.summary)


KILLED = """
import signal
from ultralytics_wb_ddp import TrainingState

def kill(trainer):
    if trainer.epoch == 1:
        os.kill(os.getpid(), signal.SIGKILL)

model.add_callback("on_model_save", kill)
add_wandb_callback(model, project="demo")
if os.fork() == 0:
    model.train(**{**ONE_PROCESS, "epochs": EPOCHS})
os.wait()
if EPOCHS == 3:
    YOLO("train/weights/last.pt").train(resume=True)
print("FINISHED", TrainingState.of("train").finish_run())
"""


@pytest.mark.parametrize(
    ("mode", "count"),
    [
        pytest.param("offline", 3, id="offline-resumed-without-the-callback"),
        pytest.param("offline", 2, id="offline-last-epoch", marks=NIGHTLY),
        pytest.param("online", 3, id="online-resumed-without-the-callback", marks=NIGHTLY),
    ],
)
def test_epochs_that_only_the_results_file_has_are_logged_once_when_the_run_is_finished(
    run_job: RunJob, mode: str, count: int
) -> None:
    with WandbServer() as server:
        script = f"EPOCHS = {count}\n{KILLED}"
        job = run_job(script, **({**server.environment, "WANDB_MODE": "online"} if mode == "online" else {}))
    runs = server.runs if mode == "online" else sorted(job.runs, key=lambda run: run.path.stat().st_mtime_ns)
    history = [row for run in runs for row in run.history]

    assert "FINISHED True" in job.output
    for key in ("train/box_loss", "val/box_loss", "lr/pg0"):
        assert [row["epoch"] for row in history if key in row] == [*range(1, count + 1)]
    assert (runs[-1].state, runs[-1].exit_code) == ("finished", 0)
    record = RunRecord.find(job.directory / "train", None)
    assert record is not None
    assert record.epoch == count


def test_epochs_that_were_not_validated_bring_no_placeholders(tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("val: false\nepochs: 2\n")
    (tmp_path / "results.csv").write_text(
        "epoch,train/box_loss,metrics/mAP50(B),val/box_loss\n1,3.0,0,0\n2,2.0,0.5,1.5\n"
    )

    assert training_state._rows(tmp_path) == (  # noqa: SLF001  # finish_run logs these rows
        {"epoch": 1, "train/box_loss": 3.0},
        {"epoch": 2, "train/box_loss": 2.0, "metrics/mAP50(B)": 0.5, "val/box_loss": 1.5},
    )
