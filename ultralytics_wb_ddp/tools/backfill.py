"""Import past trainings into W&B from the files that Ultralytics wrote."""

from __future__ import annotations

import glob
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import file_sha256
from ultralytics_wb_ddp.artifacts.checkpoints import CheckpointPolicy
from ultralytics_wb_ddp.artifacts.results_csv import NoEpochError, ResultsError, epoch_with_metrics
from ultralytics_wb_ddp.artifacts.training_state import ARGUMENTS, RESULTS
from ultralytics_wb_ddp.config.names import model_collection
from ultralytics_wb_ddp.config.options import RunOptions, merge
from ultralytics_wb_ddp.runs.lifecycle import define_metrics, finish_run, init_run, resume_run
from ultralytics_wb_ddp.runs.links import Links
from ultralytics_wb_ddp.runs.run_defaults import stock_run_options
from ultralytics_wb_ddp.runs.run_record import RECORD_FILE, RunRecord
from ultralytics_wb_ddp.tools.checkpoint_reader import Checkpoint
from ultralytics_wb_ddp.tools.training_arguments import HYPERPARAMETERS, OPTIONS
from ultralytics_wb_ddp.tools.training_directory import PastTraining, is_training
from ultralytics_wb_ddp.utils.logging import format_exception, pluralize
from ultralytics_wb_ddp.utils.progress import status
from ultralytics_wb_ddp.wandb_client.internals import log_artifact
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir, sync_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


FILES = frozenset({RESULTS, ARGUMENTS, OPTIONS, HYPERPARAMETERS})
TRAINING_FOLDERS = ("wandb", "weights")  # folders that hold no other training
# The importing machine is not the machine that trained.
SETTINGS = {
    "console": "off",
    "disable_git": True,
    "save_code": False,
    "silent": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}


@dataclass
class ImportResult:
    """Result of the import of one directory.

    Attributes:
        status: ``"imported"``, ``"skipped"``, ``"failed"`` or, in a dry run, ``"would be imported"``.
        text: The run and its epochs, or the reason for a skip or a failure.
        notes: Missing, damaged and skipped files.
    """

    directory: Path
    status: str
    text: str
    notes: list[str] = field(default_factory=list)
    url: str | None = None


class _WandbUnavailableError(Exception):
    """Error that stops the import of all further trainings."""


def find_trainings(paths: Iterable[str]) -> Iterator[Path | ImportResult]:
    """Yield the training directories in and below paths, each once.

    A path that cannot be read yields a failed result.

    Args:
        paths: Directories, or patterns such as ``runs/**`` that the shell did not expand. Files that do not belong to
            a training are ignored.
    """
    visited = set()
    for path in paths:
        matches = [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
        if not matches:
            yield ImportResult(Path(path), "failed", "there is no such file or directory")
        for match in map(Path, matches):
            start = match.parent if match.name in FILES and match.is_file() else match
            if os.path.realpath(start) in visited:
                continue
            problems: list[OSError] = []
            for folder, folders, files in os.walk(start, onerror=problems.append):
                is_found = is_training({*files, *FILES.intersection(folders)})
                skipped = {*TRAINING_FOLDERS, *FILES} if is_found else set()
                folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in skipped)
                real = os.path.realpath(folder)
                if is_found and real not in visited:
                    yield Path(folder)
                visited.add(real)
            for problem in problems:
                if start.is_dir() and str(problem.filename) not in visited:
                    visited.add(str(problem.filename))
                    yield ImportResult(Path(problem.filename), "failed", f"cannot be read: {problem.strerror}")


def import_trainings(paths: Iterable[str], options: RunOptions, *, dry_run: bool = False) -> Iterator[ImportResult]:
    """Import each training in and below paths as a run.

    The run equals the run of a logged training: config, one row for each epoch with the time of its end, pictures and
    checkpoints. ``wandb_run.json`` in the directory then names the run. A second import therefore skips the training,
    and a resumed training continues the run. An incomplete training becomes a failed run. A later import adds the rows
    that are new.

    Args:
        paths: As for :func:`find_trainings`.
        options: Options of the runs. An option that is None has the default of a logged training.
        dry_run: Yield the results without an import.
    """
    unavailable_reason = ""
    for entry in find_trainings(paths):
        if isinstance(entry, ImportResult):
            yield entry
            continue
        try:
            with status(f"importing {entry}"):
                result = _import(
                    entry, replace(options, on_error="raise"), dry_run=dry_run, unavailable_reason=unavailable_reason
                )
            yield result
        except _WandbUnavailableError as problem:
            unavailable_reason = f"W&B cannot be used: {problem}"
            yield ImportResult(entry, "failed", unavailable_reason)
        except NoEpochError as problem:
            yield ImportResult(entry, "skipped", str(problem))
        except (ResultsError, OSError) as problem:
            yield ImportResult(entry, "failed", str(problem))
        except Exception as problem:  # noqa: BLE001  # the other trainings are still to be imported
            yield ImportResult(entry, "failed", format_exception(problem))


def _import(directory: Path, options: RunOptions, *, dry_run: bool, unavailable_reason: str) -> ImportResult:
    record = RunRecord.find(directory, None) if (directory / RECORD_FILE).exists() else None
    if record and record.imported_epochs is None:
        return ImportResult(directory, "skipped", f"it was logged as run {record.id}", url=record.url)
    training = PastTraining.read(directory)
    other = record if record and record.imported_mark not in {None, training.mark} else None
    record = None if other else record
    if record and (text := _skip_reason(record, training)):
        return ImportResult(directory, "skipped", text, url=record.url)
    stock = None if record or other else RunRecord.find(directory, None)
    if stock and stock.id != training.run_id:
        folder = directory / "wandb"
        text = f"W&B's files of run {stock.id} are in {folder}: it was logged; send them with 'ultralytics-wb-ddp sync'"
        return ImportResult(directory, "skipped", text)
    if not os.access(directory, os.W_OK):
        return ImportResult(directory, "failed", f"{RECORD_FILE} cannot be written into it; import a copy")
    if unavailable_reason:
        return ImportResult(directory, "failed", unavailable_reason)
    default = stock_run_options(training.project, training.name, directory)
    options = RunOptions(**merge(options.as_layer(), default))
    result = ImportResult(directory, "would be imported", "", list(training.notes))
    if other:
        result.notes.append(f"run {other.id} is of an earlier training in this directory and stays as it is")
    run_id, project = (record.id, record.project) if record else (training.run_id, options.project)
    if not dry_run:
        result.status = "imported"
        _write_run(training, options, record, result)
    result.text = f"as run {run_id} of project {project}, {_progress_text(training)}{result.text}"
    return result


def _skip_reason(record: RunRecord, training: PastTraining) -> str:
    text = f"it was imported as run {record.id}"
    if record.imported_mark is None and training.results.earlier:  # an older release mixed the trainings in the file
        return f"{text}, mixed with another training; delete {RECORD_FILE} and 'wandb' to import the last one"
    return text if training.last_epoch <= (record.imported_epochs or 0) else ""


def _progress_text(training: PastTraining) -> str:
    of_all = f" of {training.epochs}" if training.epochs and training.epochs != training.last_epoch else ""
    epochs = pluralize(f"{training.last_epoch}{of_all}", "epoch")
    return f"{epochs}, {pluralize(len(training.pictures), 'picture')}"


def _write_run(training: PastTraining, options: RunOptions, previous: RunRecord | None, result: ImportResult) -> None:
    checkpoints = _read_checkpoints(training, result)
    is_complete = training.is_complete(checkpoints)
    run = _open_run(training, options, previous)
    try:
        imported_epochs = (previous and previous.imported_epochs) or 0
        record = RunRecord.of_run(run, previous, Links.of_run(run).as_dict())
        define_metrics(run)
        completed = next((checkpoints[name].arguments for name in ("last", "best") if name in checkpoints), {})
        run.config.update({**training.arguments, **completed}, allow_val_change=True)
        _log_rows(run, training, record, imported_epochs, result)
        best = epoch_with_metrics(training.results.rows, checkpoints["best"].metrics) if "best" in checkpoints else None
        if best:
            record.best_epoch = best
            run.summary.update({"best/epoch": best})
        _log_checkpoints(run, training, options, checkpoints, best)
    except BaseException:
        finish_run(run, 1)
        raise
    result.url = record.url
    finish_run(run, int(is_complete is False))
    record.epoch = record.imported_epochs = training.last_epoch
    record.imported_mark = training.mark
    record.save(training.directory, exit_code=0)
    if is_complete is None:
        result.notes.append("the files do not say whether the training was over: the run is marked as finished")
    elif not is_complete:
        result.text = "; the training was not over: the run is marked as failed"
    if not run.offline:
        _check_arrival(run, result)
    if command := record.links.get("sync_command"):
        result.notes.append(f"it is on disk, send it with: {command}")


def _check_arrival(run: Any, result: ImportResult) -> None:
    """Check that W&B has the rows. wandb reports no error for refused rows."""
    from ultralytics_wb_ddp.tools.sync import missing_data

    if missing := missing_data(get_run_dir(run)):
        result.status = "failed"
        result.text += f"; W&B has not got {', '.join(missing)}: send it with: {sync_command(get_run_dir(run))}"


def _open_run(training: PastTraining, options: RunOptions, previous: RunRecord | None) -> Any:
    if previous is None:  # an interrupted import may have left files of the run
        for folder in (training.directory / "wandb").glob(f"offline-run-*-{training.run_id}"):
            shutil.rmtree(folder)
    try:
        if previous:
            named = replace(options, project=previous.project or options.project, entity=previous.entity)
            run = resume_run(named, previous.handoff(), "allow", settings=SETTINGS)
        else:
            run = init_run(options, run_id=training.run_id, resume="allow", settings=SETTINGS)
    except Exception as problem:
        raise _WandbUnavailableError(format_exception(problem)) from problem
    if run.disabled:
        msg = "it is disabled; unset WANDB_MODE, or give --mode"
        raise _WandbUnavailableError(msg)
    return run


def _log_rows(run: Any, training: PastTraining, record: RunRecord, imported_epochs: int, result: ImportResult) -> None:
    """Log a row for each epoch and a row with the pictures.

    Rows that an interrupted import has logged are not logged again.
    """
    times = training.times()
    rows = [
        {**row, "_timestamp": time} for row, time in zip(training.results.rows, times) if row["epoch"] > imported_epochs
    ]
    if pictures := _pictures(training, result):
        rows.append({**pictures, "epoch": training.last_epoch, "_timestamp": times[-1]})
    logged_count = max(0, run.starting_step - record.next_step)
    for row in rows[logged_count:]:
        run.log(row)
        if summary := record.update_best(run, row):
            run.summary.update(summary)
    for row in rows[:logged_count]:
        record.update_best(run, row)


def _pictures(training: PastTraining, result: ImportResult) -> dict[str, Any]:
    import wandb

    images = {}
    for file in training.pictures:
        try:
            images[file.stem] = wandb.Image(str(file))
        except Exception as problem:  # noqa: BLE001, PERF203  # a damaged picture fails in any way
            result.notes.append(f"{file.name} is no picture and is left out: {format_exception(problem)}")
    return images


def _read_checkpoints(training: PastTraining, result: ImportResult) -> dict[str, Checkpoint]:
    checkpoints = {}
    for name in ("best", "last"):
        file = training.directory / "weights" / f"{name}.pt"
        if not file.exists():
            result.notes.append(f"there is no weights/{file.name}")
            continue
        try:
            checkpoints[name] = Checkpoint.read(file)
        except Exception as problem:  # noqa: BLE001  # a pickle fails in any way
            result.notes.append(f"weights/{file.name} cannot be read: {format_exception(problem).splitlines()[0]}")
    return checkpoints


def _log_checkpoints(
    run: Any, training: PastTraining, options: RunOptions, checkpoints: dict[str, Checkpoint], best: int | None
) -> None:
    """Log the selected checkpoints, the best one last."""
    import wandb

    policy = CheckpointPolicy.of(options)
    is_selected = {"last": policy.last, "best": policy.best}
    for name, checkpoint in (
        (name, checkpoints[name]) for name in is_selected if is_selected[name] and name in checkpoints
    ):
        file = training.directory / "weights" / f"{name}.pt"
        epoch = training.last_epoch if name == "last" else best
        metadata: dict[str, Any] = {"epoch": epoch, "fitness": checkpoint.fitness, "metrics": checkpoint.metrics}
        metadata |= {"train_args": checkpoint.arguments, "size": file.stat().st_size, "sha256": file_sha256(file)}
        artifact = wandb.Artifact(model_collection(run.id), type="model", metadata=metadata)
        artifact.add_file(str(file), name=file.name)
        log_artifact(run, artifact, ["last", f"epoch-{epoch}"] if name == "last" else ["best"])
