"""Restore a training directory from a checkpoint at W&B."""

from __future__ import annotations

import csv
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import Progress, file_sha256
from ultralytics_wb_ddp.artifacts.inputs import FINGERPRINT_FILE
from ultralytics_wb_ddp.artifacts.prune import find_checkpoints
from ultralytics_wb_ddp.artifacts.training_state import ARGUMENTS, CHECKPOINT, RESULTS
from ultralytics_wb_ddp.runs.run_record import RunRecord
from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.utils.progress import status
from ultralytics_wb_ddp.utils.serialization import to_plain
from ultralytics_wb_ddp.wandb_client.server import DownloadError, find_run

if TYPE_CHECKING:
    import os


class RestoreError(UserError):
    """Error for a training that cannot be restored."""


def restore_checkpoint(
    run: str,
    directory: str | os.PathLike[str] | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    alias: str = "last",
) -> Path:
    """Download a run's checkpoint and restore the directory of its training.

    ``YOLO(restore_checkpoint("entity/project/run-id")).train(resume=True)`` continues the training in the same run,
    with any number of GPUs. The checkpoint holds the optimizer if it was logged with ``checkpoints="best+last"`` or
    ``"all"``.

    Args:
        run: Path of the run, ``entity/project/run-id``, or its web address.
        directory: Directory for the training, which must be empty or absent. None means ``runs/RUN-ID``.
        data: Path of the dataset if it differs from the path that the training used.
        alias: Alias of the checkpoint: ``"last"`` or ``"epoch-N"``.

    Returns:
        Path of ``last.pt`` in the directory.

    Raises:
        RestoreError: The run cannot be found or has no such checkpoint, the dataset is missing, or the directory is
            not empty or cannot be written to. No files are left in the directory then.
    """
    try:
        wandb_run = find_run(run, None)
    except DownloadError as error:
        raise RestoreError(str(error)) from error
    target = Path(directory) if directory is not None else Path("runs", wandb_run.id)
    _check_directory(target)
    checkpoints = _versions(wandb_run)
    last = _find_checkpoint(wandb_run, checkpoints, alias)
    best = next((version for version in checkpoints if "best" in version.aliases), None)
    dataset = _find_dataset(data, last.metadata.get("train_args", {}).get("data"))
    if wandb_run.state == "running":
        msg = "run %s is still running, or was not closed: make sure that its training is over, or both write to it"
        logger.warning(msg, run)
    try:
        _restore(wandb_run, last, best, target, dataset)
    except OSError as error:
        msg = f"{str(target)!r} cannot be written: {format_exception(error)}; give another directory"
        raise RestoreError(msg) from error
    return target / "weights" / CHECKPOINT


def _restore(run: Any, last: Any, best: Any, target: Path, dataset: str) -> None:
    """Create the training directory by a rename, so it is never incomplete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=target.parent) as folder:
        draft = Path(folder, "training")
        _write_training_directory(_download(last, Path(folder, "last")), draft, target.resolve(), dataset)
        if best:
            shutil.copyfile(_download(best, Path(folder, "best")), draft / "weights" / "best.pt")
        _restore_fingerprint(run, draft)
        record = RunRecord(run.id, run.project, run.entity, run.url, next_step=run.lastHistoryStep + 1)
        record.save(draft, exit_code=0)
        if target.exists():
            target.rmdir()
        draft.rename(target)


def _check_directory(target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        msg = (
            f"{str(target)!r} exists already; resume the training that is there with "
            f"YOLO('{target / 'weights' / CHECKPOINT}').train(resume=True), or give another directory"
        )
        raise RestoreError(msg)


def _versions(run: Any) -> list[Any]:
    try:
        return find_checkpoints(run.entity, run.project, run.id)
    except UserError as error:
        msg = f"the checkpoints of run {run.id!r} cannot be listed: {error}"
        raise RestoreError(msg) from error
    except Exception:  # noqa: BLE001  # wandb raises several classes if there is no such artifact
        return []


def _find_checkpoint(run: Any, versions: list[Any], alias: str) -> Any:
    resumable = [version for version in versions if CHECKPOINT in version.manifest.entries]
    for version in resumable:
        if alias in version.aliases:
            return version
    aliases = sorted({name for version in resumable for name in version.aliases})
    available = f"there are {', '.join(aliases)}" if aliases else "it has none with an optimizer"
    msg = (
        f"run {run.id!r} has no checkpoint {alias!r} to go on from: {available}; trainings log them with "
        "checkpoints='best+last' and a checkpoint_interval"
    )
    raise RestoreError(msg)


def _find_dataset(override: str | os.PathLike[str] | None, logged: str | None) -> str:
    """Return the dataset's path, or its name if it belongs to Ultralytics.

    Raises:
        RestoreError: The path does not exist on this machine.
    """
    data = str(override) if override is not None else str(logged)
    is_path = override is not None or "/" in data or "\\" in data
    if is_path and "://" not in data and not Path(data).exists():
        where = "" if override is not None else " of the training"
        msg = f"dataset {data!r}{where} is not on this machine; give its place with data=, on the command line --data"
        raise RestoreError(msg)
    return str(Path(data).resolve()) if is_path and "://" not in data else data


def _download(artifact: Any, folder: Path) -> Path:
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


def _restore_fingerprint(run: Any, draft: Path) -> None:
    """Restore the dataset's fingerprint. The resumed training compares the dataset with it."""
    try:
        dataset = next(artifact for artifact in run.used_artifacts() if artifact.type == "dataset")
        with tempfile.TemporaryDirectory() as folder:
            files = dataset.download(root=folder, path_prefix="files.tsv")
            shutil.copyfile(Path(files, "files.tsv"), draft / FINGERPRINT_FILE)
    except StopIteration:  # logged without its inputs
        return
    except Exception as error:  # noqa: BLE001  # the training can be resumed without the fingerprint
        logger.warning("the dataset is not compared with what it was: %s", format_exception(error))


def _write_training_directory(checkpoint: Path, training: Path, target: Path, dataset: str) -> None:
    """Write a training directory with the files of Ultralytics, whose final path will be ``target``."""
    import torch
    from omegaconf import OmegaConf

    content = torch.load(checkpoint, map_location="cpu", weights_only=False)
    progress = Progress.of_content(content)
    if progress is None or not progress.can_be_resumed:
        reached = f"{content.get('epoch', -1) + 1} of {progress.epochs if progress else None}"
        msg = f"the checkpoint is of epoch {reached}, the training is over; take another alias"
        raise RestoreError(msg)
    new_paths = {"data": dataset, "project": str(target.parent), "name": target.name, "save_dir": str(target)}
    content["train_args"] = {**content["train_args"], **new_paths, "exist_ok": True}
    (training / "weights").mkdir(parents=True)
    torch.save(content, training / "weights" / CHECKPOINT)
    (training / ARGUMENTS).write_text(OmegaConf.to_yaml(OmegaConf.create(to_plain(content["train_args"]))), "utf-8")
    results = content.get("train_results") or {}
    if results:
        with (training / RESULTS).open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(results)
            rows.writerows(zip(*results.values()))
