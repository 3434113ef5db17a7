"""Trainings that nobody has logged, made into runs from what Ultralytics left on disk: once each."""

from __future__ import annotations

import glob
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import file_sha256
from ultralytics_wb_ddp.artifacts.checkpoints import CheckpointPolicy
from ultralytics_wb_ddp.artifacts.results_csv import NoEpochError, ResultsError
from ultralytics_wb_ddp.config.names import model_collection
from ultralytics_wb_ddp.runs.lifecycle import define_metrics, finish_run, init_run, resume_run
from ultralytics_wb_ddp.runs.links import Links
from ultralytics_wb_ddp.runs.run_defaults import stock_run_options
from ultralytics_wb_ddp.runs.run_record import RECORD_FILE, RunRecord
from ultralytics_wb_ddp.tools.checkpoint_reader import Checkpoint
from ultralytics_wb_ddp.tools.training_arguments import ARGUMENTS, HYPERPARAMETERS, OPTIONS
from ultralytics_wb_ddp.tools.training_directory import RESULTS, PastTraining, is_training
from ultralytics_wb_ddp.utils.logging import format_exception
from ultralytics_wb_ddp.utils.progress import status
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir, sync_command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ultralytics_wb_ddp.config.options import RunOptions


FILES = frozenset({RESULTS, ARGUMENTS, OPTIONS, HYPERPARAMETERS})
TRAINING_FOLDERS = ("wandb", "weights")  # folders in which no other training lies
# The machine that imports is not the one that has trained.
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
    """What became of one directory.

    Attributes:
        directory: The directory.
        status: ``"imported"``, ``"skipped"``, ``"failed"`` or, in a dry run, ``"would be imported"``.
        text: How, or why not.
        notes: What is missing or damaged, and what was left out.
        url: Web address of the run.
    """

    directory: Path
    status: str
    text: str
    notes: list[str] = field(default_factory=list)
    url: str | None = None


class _WandbUnavailableError(Exception):  # not a fault
    """W&B cannot be used: no further training is tried."""


def find_trainings(paths: Iterable[str]) -> Iterator[Path | ImportResult]:
    """Yield the directories of trainings in and below paths, each once, and what cannot be looked at.

    Args:
        paths: Directories, or patterns such as ``runs/**`` where the shell has not expanded them. Other files than
            those of a training are passed over.
    """
    seen = set()
    for path in paths:
        matches = [path] if os.path.lexists(path) else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
        if not matches:
            yield ImportResult(Path(path), "failed", "there is no such file or directory")
        for match in map(Path, matches):
            start = match.parent if match.name in FILES and match.is_file() else match
            if os.path.realpath(start) in seen:
                continue
            problems: list[OSError] = []
            for folder, folders, files in os.walk(start, onerror=problems.append):
                is_found = is_training({*files, *FILES.intersection(folders)})
                skipped = {*TRAINING_FOLDERS, *FILES} if is_found else set()
                folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in skipped)
                real = os.path.realpath(folder)
                if is_found and real not in seen:
                    yield Path(folder)
                seen.add(real)
            for problem in problems:
                if start.is_dir() and str(problem.filename) not in seen:
                    seen.add(str(problem.filename))
                    yield ImportResult(Path(problem.filename), "failed", f"cannot be read: {problem.strerror}")


def import_trainings(paths: Iterable[str], options: RunOptions, *, dry_run: bool = False) -> Iterator[ImportResult]:
    """Make a run of each training that is found in or below paths, and tell of each directory what became of it.

    The run is as if the training had been logged: config, a row for each epoch at the time when it was over, pictures,
    checkpoints. ``wandb_run.json`` in the directory then names it, so that it is imported once, and so that a training
    that is resumed goes on in it. A training that was not over makes a failed run. Rows that a training has got since
    it was imported are added.

    Args:
        paths: As for :func:`find_trainings`.
        options: How the runs are made; what is None is as it would be for a training that is logged.
        dry_run: Only say what would be done.
    """
    lost = ""
    for found in find_trainings(paths):
        if isinstance(found, ImportResult):
            yield found
            continue
        try:
            with status(f"importing {found}"):
                done = _import(found, replace(options, on_error="raise"), dry_run=dry_run, lost=lost)
            yield done
        except _WandbUnavailableError as problem:
            lost = f"W&B cannot be used: {problem}"
            yield ImportResult(found, "failed", lost)
        except NoEpochError as problem:
            yield ImportResult(found, "skipped", str(problem))
        except (ResultsError, OSError) as problem:
            yield ImportResult(found, "failed", str(problem))
        except Exception as problem:  # noqa: BLE001  # the other trainings are still to be imported
            yield ImportResult(found, "failed", format_exception(problem))


def _import(directory: Path, options: RunOptions, *, dry_run: bool, lost: str) -> ImportResult:
    """Import one training."""
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
        place = directory / "wandb"
        text = f"W&B's files of run {stock.id} lie in {place}: it was logged; send them with 'ultralytics-wb-ddp sync'"
        return ImportResult(directory, "skipped", text)
    if not os.access(directory, os.W_OK):
        return ImportResult(directory, "failed", f"{RECORD_FILE} cannot be written into it; import a copy")
    if lost:
        return ImportResult(directory, "failed", lost)
    namespace = SimpleNamespace(args=SimpleNamespace(project=training.project, name=training.name), save_dir=directory)
    options = options.with_defaults(stock_run_options(namespace))
    done = ImportResult(directory, "would be imported", "", list(training.notes))
    if other:
        done.notes.append(f"run {other.id} is of an earlier training in this directory and stays as it is")
    run_id, project = (record.id, record.project) if record else (training.run_id, options.project)
    if not dry_run:
        done.status = "imported"
        _write_run(training, options, record, done)
    done.text = f"as run {run_id} of project {project}, {_progress_text(training)}{done.text}"
    return done


def _skip_reason(record: RunRecord, training: PastTraining) -> str:
    """Return that a training is in a run as far as it has come; nothing where epochs are to be added."""
    text = f"it was imported as run {record.id}"
    if record.imported_mark is None and training.results.earlier:  # by a release that mixed the trainings in the file
        return f"{text}, mixed with another training; delete {RECORD_FILE} and 'wandb' to import the last one"
    return text if training.last_epoch <= (record.imported_epochs or 0) else ""


def _progress_text(training: PastTraining) -> str:
    of_all = f" of {training.epochs}" if training.epochs and training.epochs != training.last_epoch else ""
    return f"{training.last_epoch}{of_all} epochs, {len(training.pictures)} pictures"


def _write_run(training: PastTraining, options: RunOptions, earlier: RunRecord | None, done: ImportResult) -> None:
    """Write the run of a training."""
    checkpoints = _read_checkpoints(training, done)
    is_complete = training.is_complete(checkpoints)
    run = _open_run(training, options, earlier)
    try:
        known = (earlier and earlier.imported_epochs) or 0
        record = RunRecord.of_run(run, earlier, Links.of_run(run).as_dict())
        define_metrics(run)
        completed = next((checkpoints[name].arguments for name in ("last", "best") if name in checkpoints), {})
        run.config.update({**training.arguments, **completed}, allow_val_change=True)
        _log_rows(run, training, record, known, done)
        best = training.epoch_of(checkpoints["best"].metrics) if "best" in checkpoints else None
        if best:
            record.best_epoch = best
            run.summary.update({"best/epoch": best})
        _log_checkpoints(run, training, options, checkpoints, best)
    except BaseException:
        finish_run(run, 1)
        raise
    done.url = record.url
    finish_run(run, int(is_complete is False))
    record.imported_epochs, record.imported_mark = training.last_epoch, training.mark
    record.save(training.directory, closed=True)
    if is_complete is None:
        done.notes.append("the files do not say whether the training was over: the run is marked as finished")
    elif not is_complete:
        done.text = "; the training was not over: the run is marked as failed"
    if not run.offline:
        _check_arrival(run, record, done)
    if command := record.links.get("sync_command"):
        done.notes.append(f"it is on disk, send it with: {command}")


def _check_arrival(run: Any, record: RunRecord, done: ImportResult) -> None:
    """Ask W&B whether it has the run: the client ends without an error, too, where its rows were refused."""
    from ultralytics_wb_ddp.tools.sync import RunAtWandb

    at_wandb = RunAtWandb(record.entity or "", record.project or "", record.id)
    if missing := at_wandb.missing_rows(0, 0, record.next_step - 1):
        done.status = "failed"
        done.text += f"; W&B has not got {', '.join(missing)}: send it with: {sync_command(get_run_dir(run))}"


def _open_run(training: PastTraining, options: RunOptions, earlier: RunRecord | None) -> Any:
    """Open the run of a training."""
    if earlier is None:  # what an import that was cut off has left is no part of the run
        for folder in (training.directory / "wandb").glob(f"offline-run-*-{training.run_id}"):
            shutil.rmtree(folder)
    try:
        if earlier:
            named = replace(options, project=earlier.project or options.project, entity=earlier.entity)
            run = resume_run(named, earlier.handoff(), "allow", settings=SETTINGS)
        else:
            run = init_run(options, run_id=training.run_id, resume="allow", settings=SETTINGS)
    except Exception as problem:
        raise _WandbUnavailableError(format_exception(problem)) from problem
    if run.disabled:
        msg = "it is disabled; unset WANDB_MODE, or give --mode"
        raise _WandbUnavailableError(msg)
    return run


def _log_rows(run: Any, training: PastTraining, record: RunRecord, known: int, done: ImportResult) -> None:
    """Log the epochs and, in a last row, the pictures, without what is there since an import that was cut off.

    Args:
        run: The run.
        training: The training.
        record: The record of the run, which takes the rows into account.
        known: The last epoch that was imported earlier.
        done: What is told of it.
    """
    times = training.times()
    rows = [{**row, "_timestamp": time} for row, time in zip(training.results.rows, times) if row["epoch"] > known]
    if pictures := _pictures(training, done):
        rows.append({**pictures, "epoch": training.last_epoch, "_timestamp": times[-1]})
    there = max(0, run.starting_step - record.next_step)
    for row in rows[there:]:
        run.log(row)
        if summary := record.update_best(run, row):
            run.summary.update(summary)
    for row in rows[:there]:
        record.update_best(run, row)


def _pictures(training: PastTraining, done: ImportResult) -> dict[str, Any]:
    """Return the pictures by the names that they have in a training that is logged."""
    import wandb

    found = {}
    for file in training.pictures:
        try:
            found[file.stem] = wandb.Image(str(file))
        except Exception as problem:  # noqa: BLE001, PERF203  # a damaged picture fails in any way
            done.notes.append(f"{file.name} is no picture and is left out: {format_exception(problem)}")
    return found


def _read_checkpoints(training: PastTraining, done: ImportResult) -> dict[str, Checkpoint]:
    """Return what the best and the last checkpoint say of themselves, as far as they can be read."""
    found = {}
    for name in ("best", "last"):
        file = training.directory / "weights" / f"{name}.pt"
        if not file.exists():
            done.notes.append(f"there is no weights/{file.name}")
            continue
        try:
            found[name] = Checkpoint.read(file)
        except Exception as problem:  # noqa: BLE001  # a pickle fails in any way
            done.notes.append(f"weights/{file.name} cannot be read: {format_exception(problem).splitlines()[0]}")
    return found


def _log_checkpoints(
    run: Any, training: PastTraining, options: RunOptions, checkpoints: dict[str, Checkpoint], best: int | None
) -> None:
    """Log the checkpoints that are wanted, the best one last, as a training does."""
    import wandb

    policy = CheckpointPolicy.of(options)
    wanted = {"last": policy.last, "best": policy.best}
    for name, checkpoint in ((name, checkpoints[name]) for name in wanted if wanted[name] and name in checkpoints):
        file = training.directory / "weights" / f"{name}.pt"
        epoch = training.last_epoch if name == "last" else best
        facts: dict[str, Any] = {"epoch": epoch, "fitness": checkpoint.fitness, "metrics": checkpoint.metrics}
        facts |= {"train_args": checkpoint.arguments, "size": file.stat().st_size, "sha256": file_sha256(file)}
        artifact = wandb.Artifact(model_collection(run.id), type="model", metadata=facts)
        artifact.add_file(str(file), name=file.name)
        run.log_artifact(artifact, aliases=["last", f"epoch-{epoch}"] if name == "last" else ["best"])
