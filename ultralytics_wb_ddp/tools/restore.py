"""A training brought back on another machine: its last checkpoint from W&B, in a directory that it goes on in."""

from __future__ import annotations

import csv
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Progress, file_sha256
from ultralytics_wb_ddp.artifacts.inputs import FINGERPRINT_FILE
from ultralytics_wb_ddp.runs.run_record import RunRecord
from ultralytics_wb_ddp.tools.prune import find_checkpoints
from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.utils.progress import status
from ultralytics_wb_ddp.utils.serialization import to_plain
from ultralytics_wb_ddp.wandb_client.server import DownloadError, find_run

if TYPE_CHECKING:
    import os


class RestoreError(UserError):
    """A training cannot be brought back: the message names the value, the cause and the remedy."""


def restore_checkpoint(
    run: str,
    directory: str | os.PathLike[str] | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    alias: str = "last",
) -> Path:
    """Download a checkpoint of a run and restore the directory of its training, which then goes on in the same run.

    ``YOLO(restore_checkpoint("team/project/run-id")).train(resume=True)`` continues it, with any number of GPUs.
    The checkpoint holds the optimizer if it was logged with ``checkpoints="best+last"`` or ``"all"``.

    Args:
        run: Path of the run, ``entity/project/run-id``, or its web address.
        directory: Directory for the training; it must not hold one. None is ``runs/RUN-ID``.
        data: The dataset, where it does not lie at the place that the training knew.
        alias: Which checkpoint: ``"last"``, or ``"epoch-N"``.

    Returns:
        Path of ``last.pt`` in the directory.

    Raises:
        RestoreError: The run cannot be found, has no such checkpoint, or its dataset is not here; or the directory
            holds something, or cannot be written to. Nothing is left there then.
    """
    try:
        found = find_run(run, None)
    except DownloadError as error:
        raise RestoreError(str(error)) from error
    place = Path(directory) if directory is not None else Path("runs", found.id)
    _check_directory(place)
    versions = _versions(found)
    last = _find_checkpoint(found, versions, alias)
    best = next((version for version in versions if "best" in version.aliases), None)
    dataset = _find_dataset(data, last.metadata.get("train_args", {}).get("data"))
    if found.state == "running":
        msg = "run %s is still running, or was not closed: make sure that its training is over, or both write to it"
        logger.warning(msg, run)
    try:
        _restore(found, last, best, place, dataset)
    except OSError as error:
        msg = f"{str(place)!r} cannot be written: {format_exception(error)}; give another directory"
        raise RestoreError(msg) from error
    return place / "weights" / "last.pt"


def _restore(run: Any, last: Any, best: Any, place: Path, dataset: str) -> None:
    """Make a training's directory, which is complete or absent."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=place.parent) as folder:
        training = Path(folder, "training")
        _write_training_directory(_download(last, Path(folder, "last")), training, place.resolve(), dataset)
        if best:
            shutil.copyfile(_download(best, Path(folder, "best")), training / "weights" / "best.pt")
        _restore_fingerprint(run, training)
        record = RunRecord(run.id, run.project, run.entity, run.url, next_step=run.lastHistoryStep + 1)
        record.save(training, closed=True)
        if place.exists():
            place.rmdir()
        training.rename(place)


def _check_directory(place: Path) -> None:
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        msg = (
            f"{str(place)!r} exists already; resume the training that is there with "
            f"YOLO('{place / 'weights' / 'last.pt'}').train(resume=True), or give another directory"
        )
        raise RestoreError(msg)


def _versions(run: Any) -> list[Any]:
    """Return the checkpoints of a run."""
    try:
        return find_checkpoints(run.entity, run.project, run.id)
    except UserError as error:
        msg = f"the checkpoints of run {run.id!r} cannot be listed: {error}"
        raise RestoreError(msg) from error
    except Exception:  # noqa: BLE001  # W&B raises several kinds where there is no such artifact
        return []


def _find_checkpoint(run: Any, versions: list[Any], alias: str) -> Any:
    """Return the artifact, if it holds a checkpoint that a training can go on from."""
    resumable = [version for version in versions if "last.pt" in version.manifest.entries]
    for version in resumable:
        if alias in version.aliases:
            return version
    have = sorted({name for version in resumable for name in version.aliases})
    there = f"there are {', '.join(have)}" if have else "it has none with an optimizer"
    msg = (
        f"run {run.id!r} has no checkpoint {alias!r} to go on from: {there}; trainings log them with "
        "checkpoints='best+last' and a checkpoint_interval"
    )
    raise RestoreError(msg)


def _find_dataset(given: str | os.PathLike[str] | None, known: str | None) -> str:
    """Return the dataset to train with; one that Ultralytics brings along is known by its name."""
    data = str(given) if given is not None else str(known)
    is_path = given is not None or "/" in data or "\\" in data
    if is_path and "://" not in data and not Path(data).exists():
        where = "" if given is not None else " of the training"
        msg = f"dataset {data!r}{where} is not on this machine; give its place with data=, on the command line --data"
        raise RestoreError(msg)
    return str(Path(data).resolve()) if is_path and "://" not in data else data


def _download(artifact: Any, folder: Path) -> Path:
    """Download a checkpoint and return its path; it is what was logged."""
    try:
        with status(f"downloading {artifact.name}, {artifact.size / 1e6:.0f} MB"):
            (checkpoint,) = Path(artifact.download(root=str(folder))).glob("*.pt")
    except Exception as error:
        msg = f"checkpoint {artifact.name!r} cannot be downloaded: {format_exception(error)}; try again later"
        raise RestoreError(msg) from error
    expected = artifact.metadata.get("sha256")
    if expected and file_sha256(checkpoint) != expected:
        msg = f"checkpoint {artifact.name!r} is damaged: its SHA-256 is not {expected}; take another alias"
        raise RestoreError(msg)
    return checkpoint


def _restore_fingerprint(run: Any, training: Path) -> None:
    """Keep what the dataset consisted of, so that the resumed training says what has changed."""
    try:
        dataset = next(artifact for artifact in run.used_artifacts() if artifact.type == "dataset")
        with tempfile.TemporaryDirectory() as folder:
            files = dataset.download(root=folder, path_prefix="files.tsv")
            shutil.copyfile(Path(files, "files.tsv"), training / FINGERPRINT_FILE)
    except StopIteration:  # logged without its inputs
        return
    except Exception as error:  # noqa: BLE001  # the training can go on without it
        logger.warning("the dataset is not compared with what it was: %s", format_exception(error))


def _write_training_directory(checkpoint: Path, training: Path, place: Path, dataset: str) -> None:
    """Write a training's directory as Ultralytics leaves it.

    Args:
        checkpoint: The checkpoint.
        training: The directory, under the name that it has until it is complete.
        place: Where it will be.
        dataset: The dataset to train with.
    """
    import torch
    from omegaconf import OmegaConf

    content = torch.load(checkpoint, map_location="cpu", weights_only=False)
    progress = Progress.of_content(content)
    if progress is None or not progress.can_be_resumed:
        reached = f"{content.get('epoch', -1) + 1} of {progress.epochs if progress else None}"
        msg = f"the checkpoint is of epoch {reached}, the training is over; take another alias"
        raise RestoreError(msg)
    moved = {"data": dataset, "project": str(place.parent), "name": place.name, "save_dir": str(place)}
    content["train_args"] = {**content["train_args"], **moved, "exist_ok": True}
    (training / "weights").mkdir(parents=True)
    torch.save(content, training / "weights" / "last.pt")
    (training / "args.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(to_plain(content["train_args"]))), "utf-8")
    results = content.get("train_results") or {}
    if results:
        with (training / "results.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(results)
            rows.writerows(zip(*results.values()))
