"""Checkpoints as artifacts: which are logged when, what is in them and said of them, and what they do not hold up."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from wandb_server import WandbServer
from wandb_server.store import StoredArtifact

from support.jobs import NIGHTLY, Job, RunJob, RunOnline
from support.s3_service import S3Service
from ultralytics_wb_ddp.artifacts.checkpoint_metadata import git_state
from ultralytics_wb_ddp.artifacts.checkpoints import CheckpointPolicy
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.config.validation import ConfigurationError


def policy(checkpoints: str, interval: int | None = None) -> CheckpointPolicy:
    return CheckpointPolicy.of(RunOptions(checkpoints=checkpoints, checkpoint_interval=interval))


@pytest.mark.parametrize(
    ("which", "epoch", "is_final", "is_best", "aliases"),
    [
        (policy("none", 1), 10, True, True, ()),
        (policy("best"), 10, False, True, ()),
        (policy("best"), 10, True, True, ()),  # it is logged after its evaluation
        (policy("best", 5), 10, False, True, ("best",)),
        (policy("best", 5), 10, False, False, ()),
        (policy("best+last"), 9, False, True, ()),
        (policy("best+last"), 10, False, True, ("best", "last", "epoch-10")),
        (policy("best+last"), 10, False, False, ("last", "epoch-10")),
        (policy("best+last", 0), 10, False, False, ()),
        (policy("best+last", 0), 13, True, True, ("last", "epoch-13")),
        (policy("all"), 3, False, False, ("last", "epoch-3")),
    ],
)
def test_checkpoint_is_due(
    which: CheckpointPolicy,
    epoch: int,
    is_final: bool,  # noqa: FBT001  # cases of a table
    is_best: bool,  # noqa: FBT001
    aliases: tuple[str, ...],
) -> None:
    assert which.aliases(epoch, is_final=is_final, is_best=is_best) == aliases


def test_best_checkpoint_of_an_earlier_epoch_is_due_at_the_interval() -> None:
    assert [epoch for epoch in range(1, 11) if policy("best", 5).best_is_due(epoch)] == [5, 10]
    assert not policy("best").best_is_due(10)
    assert not policy("none", 5).best_is_due(10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"checkpoints": "last"}, "checkpoints='last' is unknown; choose one of best, best+last, all, none"),
        ({"checkpoint_interval": -1}, "checkpoint_interval=-1: a whole number, 0 or more, is expected"),
        ({"checkpoint_store": "bucket/runs"}, "checkpoint_store='bucket/runs': "),
        ({"checkpoint_keep": 1.5}, "checkpoint_keep=1.5: a whole number, 0 or more, is expected"),
    ],
)
def test_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match="add_wandb_callback: ") as caught:
        RunOptions.parse(options, "add_wandb_callback")
    assert message in str(caught.value)


# A training in two processes whose ranks note the state of their optimizer at the end of each epoch

IN_STEP = """
def note_optimizer(trainer):
    import json
    state = trainer.optimizer.state_dict()["state"]
    sums = [float(part.detach().double().abs().sum()) for entry in state.values() for key, part in sorted(entry.items()) if part is not None and part.numel() > 1]
    with open(f"optimizer-{os.environ['RANK']}.jsonl", "a") as file:
        file.write(json.dumps([trainer.epoch + 1, sum(sums)]) + chr(10))
model.add_callback("on_train_epoch_end", note_optimizer)
add_wandb_callback(model, project="demo", mode="online", checkpoints="best+last", checkpoint_interval=2)
model.train(**{**TWO_PROCESSES, "epochs": 3, "optimizer": "SGD", "nbs": 8})
"""


@pytest.fixture(scope="module")
def trained(run_online: RunOnline) -> tuple[Job, WandbServer]:
    return run_online(IN_STEP)


@pytest.fixture(scope="module")
def models(trained: tuple[Job, WandbServer]) -> list[StoredArtifact]:
    """The versions of the model artifact, in order."""
    (run,) = trained[1].runs
    return sorted((item for item in run.artifacts if item.type == "model"), key=lambda item: item.version or 0)


def load(artifact: StoredArtifact) -> dict[str, Any]:
    import torch

    (name,) = artifact.manifest
    checkpoint: dict[str, Any] = torch.load(io.BytesIO(artifact.file(name)), weights_only=False)
    return checkpoint


def test_last_checkpoints_are_logged_once_each_and_the_best_one_at_the_end(models: list[StoredArtifact]) -> None:
    *during, last, best = models

    assert [sorted(model.manifest) for model in models] == [["last.pt"]] * len(during) + [["last.pt"], ["best.pt"]]
    assert [set(model.aliases) for model in (last, best)] == [{"epoch-3", "last"}, {"best", "latest"}]
    assert "epoch-2" in during[-1].aliases


def test_what_has_been_superseded_is_deleted(models: list[StoredArtifact]) -> None:
    *during, last, best = models

    assert [model.state for model in (last, best)] == ["COMMITTED"] * 2
    assert {model.state for model in during} == {"DELETED"}


def test_checkpoint_holds_model_and_optimizer_of_a_point_that_all_ranks_have_reached(
    trained: tuple[Job, WandbServer], models: list[StoredArtifact]
) -> None:
    notes = [
        dict(json.loads(line) for line in (trained[0].directory / f"optimizer-{rank}.jsonl").read_text().splitlines())
        for rank in (0, 1)
    ]
    for model in models[:-1]:
        checkpoint = load(model)
        epoch = checkpoint["epoch"] + 1
        state = checkpoint["optimizer"]["state"]
        total = sum(
            float(part.double().abs().sum())
            for entry in state.values()
            for part in entry.values()
            if part is not None and part.numel() > 1
        )
        assert f"epoch-{epoch}" in model.aliases
        assert checkpoint["ema"] is not None
        assert total > 0
        for rank in (0, 1):
            assert total == pytest.approx(notes[rank][epoch], rel=1e-2), "stored with half precision"


def test_metadata_says_what_the_checkpoint_is(models: list[StoredArtifact]) -> None:
    for model in models:
        (content,) = (model.file(name) for name in model.manifest)
        metadata = json.loads(model.metadata or "{}")

        assert metadata["size"] == len(content)
        assert metadata["sha256"] == hashlib.sha256(content).hexdigest()
        assert metadata["epoch"] in {1, 2, 3}
        assert isinstance(metadata["fitness"], float)
        assert "metrics/mAP50(B)" in metadata["metrics"]
        assert metadata["train_args"]["optimizer"] == "SGD"


def test_nothing_is_left_beside_the_checkpoints(trained: tuple[Job, WandbServer]) -> None:
    weights = trained[0].directory / "train/weights"
    assert {path.name for path in weights.iterdir()} == {"best.pt", "last.pt", "wandb_run.json"}


def test_training_that_fails_leaves_its_last_checkpoint(run_job: RunJob) -> None:
    job = run_job(
        """
    def fail(trainer):
        if trainer.epoch == 1:
            raise RuntimeError("in epoch 2")
    model.add_callback("on_train_batch_end", fail)
    add_wandb_callback(model, checkpoints="best+last")
    model.train(**ONE_PROCESS)
    """,
        check=False,
    )

    (artifact,) = (artifact for artifact in job.run.artifacts if artifact.type == "model")
    assert (set(artifact.aliases), set(artifact.entries)) == ({"latest", "last", "epoch-1"}, {"last.pt"})
    assert (job.run.state, job.run.exit_code) == ("failed", 1)


def test_checkpoint_in_s3_is_referred_to_and_linked(run_online: RunOnline, s3: S3Service) -> None:
    bucket = s3.make_bucket()
    environment = "".join(f"os.environ[{name!r}] = {value!r}\n" for name, value in s3.environment.items())
    store = f"checkpoint_store='s3://{bucket}/models', link='wandb-registry-model/yolo'"
    _, server = run_online(
        environment
        + f"add_wandb_callback(model, project='demo', mode='online', {store})\nmodel.train(**{{**ONE_PROCESS, 'epochs': 1}})"
    )

    (run,) = server.runs
    (model,) = (item for item in run.artifacts if item.type == "model")
    key = f"models/{run.id}/epoch-1/best.pt"
    entry = model.manifest["best.pt"]
    assert s3.keys(bucket) == [key]
    assert entry["ref"] == f"s3://{bucket}/{key}"
    assert json.loads(model.metadata or "{}")["sha256"] == hashlib.sha256(s3.get(bucket, key)).hexdigest()
    assert [linked for linked in server.backend.store.links.values() if model in linked]


def test_checkpoint_that_is_half_written_is_not_logged(run_job: RunJob) -> None:
    job = run_job(
        """
    def damage(trainer):
        trainer.best.write_bytes(trainer.best.read_bytes()[:1000])
    model.callbacks["on_train_end"].append(damage)
    add_wandb_callback(model, on_error="raise")
    model.train(**{**ONE_PROCESS, "epochs": 1})
    """,
        check=False,
    )

    assert job.exit_code == 1
    assert "ValueError: best.pt of epoch 1 is no complete checkpoint (1000 bytes)" in job.output
    assert [artifact for artifact in job.run.artifacts if artifact.type == "model"] == []
    assert (job.run.state, job.run.exit_code) == ("failed", 1)


@NIGHTLY
def test_no_checkpoint_is_logged_where_none_is_wanted(run_job: RunJob) -> None:
    job = run_job("add_wandb_callback(model, checkpoints='none')\nmodel.train(**{**ONE_PROCESS, 'epochs': 1})")

    assert [artifact for artifact in job.run.artifacts if artifact.type == "model"] == []


def test_git_state_is_that_of_the_directory(tmp_path: Path) -> None:
    import subprocess

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    assert git_state(tmp_path) == {}
    git("init", "-q", "-b", "work")
    (tmp_path / "file").write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = git_state(tmp_path)
    (tmp_path / "file").write_text("2")

    assert (clean["branch"], clean["dirty"], len(clean["commit"])) == ("work", False, 40)
    assert git_state(tmp_path)["dirty"]
