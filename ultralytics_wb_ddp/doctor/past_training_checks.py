"""Check a past training by its run files, results and run record."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ultralytics_wb_ddp.artifacts.results_csv import ResultsError, read_results
from ultralytics_wb_ddp.artifacts.training_state import ARGUMENTS, RESULTS, TrainingState
from ultralytics_wb_ddp.config.names import model_collection
from ultralytics_wb_ddp.config.validation import ConfigurationError
from ultralytics_wb_ddp.doctor.finding import CheckResult, error, ok, warning
from ultralytics_wb_ddp.runs.journal import find_sessions
from ultralytics_wb_ddp.runs.run_record import RECORD_FILE, RunRecord
from ultralytics_wb_ddp.utils.logging import pluralize, relative_path
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_records, read_run
from ultralytics_wb_ddp.wandb_client.run_state import is_online_run_dir, run_dir_in_command, sync_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SLACK = 60  # seconds by which a run of the same job may end before the training starts
SHOWN = 10  # most epoch numbers in one message
STAMP = "%Y%m%d_%H%M%S"  # in the names of W&B's directories
WARNINGS = "look for warnings of ultralytics_wb_ddp in what the training printed"
ENABLED = "make sure that W&B was not disabled (WANDB_MODE=disabled, mode='disabled', 'wandb disabled')"
CAUSES = (
    "the usual causes: the script created a run and did not give it to add_wandb_callback(model, run=run); the "
    "stock callback created a run because ours was not there, as in model.tune() and the yolo command (yolo settings "
    "wandb=False switches it off, 'ultralytics-wb-ddp patch apply' has it continue a run); under torchrun, every "
    "process called wandb.init: do so on rank 0 only, below 'if is_main_process():'"
)
Runs = dict[str, list[RecordedRun]]


def check_training(training: Path, launcher: Path) -> list[CheckResult]:
    """Check the run of a training that has run.

    Args:
        training: Directory of the training, which holds ``results.csv``.
        launcher: Working directory of the script, or the directory that it gave to W&B. The script's runs are in its
            subdirectory ``wandb``, or in the directory that the run record names.
    """
    if not any((training / name).exists() for name in (RESULTS, ARGUMENTS, RECORD_FILE)):
        text = f"{training} holds neither {RESULTS} nor {ARGUMENTS}"
        return [error("training", text, "give the directory of one training, such as runs/detect/train")]
    record = RunRecord.find(training, None) if (training / RECORD_FILE).exists() else None
    directories = _wandb_directories(launcher, training, record)
    runs, damaged = _runs_of(training, directories, record)
    trains = record.live_training_pid() if record else None
    findings = [_check_record(record, training, runs, trains), *damaged]
    if not runs:
        text = f"there is no run file below {training} or in {' or in '.join(map(str, directories))}"
        remedy = "give with --dir the directory above the 'wandb' in which the run's files are"
        return [*findings, warning("run", text, remedy)]
    main = _main_run(runs, record)
    findings += _set_unrelated_runs_aside(runs, main, training)
    findings.append(_check_number(runs, record))
    trained, logged = _trained_epochs(training), _epochs(runs[main])
    if trains and logged:  # the rows of the last epochs are not on disk yet
        trained = {epoch for epoch in trained if epoch <= max(logged)}
    findings.append(_check_metrics(main, runs[main], trained, resumed=_is_resumed_without(training, record)))
    findings += _check_checkpoint(main, runs[main], training)
    findings += [
        finding
        for run_id, sessions in runs.items()
        for finding in _check_end(run_id, sessions, trains if run_id == main else None)
    ]
    return [*findings, *_check_sent(runs, training)]


def _wandb_directories(launcher: Path, training: Path, record: RunRecord | None) -> list[Path]:
    """Return W&B's directories outside of the training's that may hold its runs."""
    directories = [launcher / "wandb", *(session.folder.parent for session in find_sessions([training]))]
    if record and (command := record.links.get("sync_command")):  # a training without a journal
        directories.append((launcher / run_dir_in_command(command)).parent)
    return list(dict.fromkeys(directories))


def _runs_of(training: Path, directories: list[Path], record: RunRecord | None) -> tuple[Runs, list[CheckResult]]:
    """Return the runs of a training, and warnings for damaged files.

    These are the runs in its directory, and runs of the launcher that belong to it or should have.
    """
    runs, damaged = _read(find_run_files(training))
    run_ids = {*runs, record.id} if record else {*runs}
    files = {file: None for directory in directories for file in find_run_files(directory)}
    for run_id, sessions in _read(list(files))[0].items():
        if run_id in run_ids or any(_ran_alongside(session, training) for session in sessions):
            known = {run.path for run in runs[run_id]}
            runs[run_id] += [run for run in sessions if run.path not in known]
            runs[run_id].sort(key=_started)
    return runs, damaged


def _read(files: list[Path]) -> tuple[Runs, list[CheckResult]]:
    """Return sessions by run, the oldest first, and warnings for damaged files."""
    runs: Runs = defaultdict(list)
    damaged = []
    for file in files:
        try:
            run = read_run(file)
        except Exception as problem:  # noqa: BLE001  # a damaged file can raise anything
            damaged.append(
                warning("run file", f"{file} cannot be read: {problem}", "it may still be written; look again later")
            )
            continue
        runs[run.id or file.stem.removeprefix("run-")].append(run)
    return runs, damaged


def _ran_alongside(run: RecordedRun, training: Path) -> bool:
    """Return whether a run was open during the training, without its epochs."""
    if _epochs([run]):
        return False
    begin, end = _times_of(training)
    return _started(run) <= end and run.path.stat().st_mtime >= begin - SLACK


def _times_of(training: Path) -> tuple[float, float]:
    """Return begin and end of a training by its files (Unix time)."""
    files = [training / name for name in (ARGUMENTS, RESULTS, RECORD_FILE) if (training / name).exists()]
    times = [file.stat().st_mtime for file in files]
    return min(times), max(times)


def _set_unrelated_runs_aside(runs: Runs, main: str, training: Path) -> list[CheckResult]:
    """Remove unrelated runs from ``runs``; return warnings for doubtful ones.

    A run with data but without an epoch is unrelated if it ended before the training began, or began after its end: an
    evaluation, for example. If it was open during the training, it is removed with a warning if its project is another
    one, else it is kept.
    """
    begin, end = _times_of(training)
    findings = []
    for run_id in [run_id for run_id in runs if run_id != main]:
        sessions = runs[run_id]
        if _epochs(sessions) or not any(run.history or run.summary or run.artifacts for run in sessions):
            continue
        project = sessions[-1].project
        if all(run.path.stat().st_mtime < begin or _began(run) > end for run in sessions):
            del runs[run_id]
        elif project != runs[main][-1].project:
            del runs[run_id]
            text = f"run {run_id} of project {project} was open while this training ran and has none of its epochs"
            remedy = "it is in order if it is about something else; otherwise call add_wandb_callback(model, run=run)"
            findings.append(warning("other run", text, remedy))
    return findings


def _began(run: RecordedRun) -> float:
    """Return the start of a session by its file (Unix time).

    The name of the directory has only seconds.
    """
    for record in read_records(run.path):
        if record.WhichOneof("record_type") == "run":
            return float(record.run.start_time.ToMicroseconds()) / 1e6
    return _started(run)


def _started(run: RecordedRun) -> float:
    stamp = run.path.parent.name.partition("run-")[2][: len("20250101_000000")]
    try:
        return datetime.strptime(stamp, STAMP).astimezone().timestamp()  # W&B writes local time
    except ValueError:
        return 0.0


def _epochs(sessions: list[RecordedRun]) -> set[int]:
    return {row["epoch"] for run in sessions for row in run.rows("epoch") if isinstance(row["epoch"], int)}


def _main_run(runs: Runs, record: RunRecord | None) -> str:
    """Return the recorded run's id, or that with the most epochs."""
    if record and record.id in runs:
        return record.id
    return max(runs, key=lambda run_id: len(_epochs(runs[run_id])))


def _check_record(record: RunRecord | None, training: Path, runs: Runs, trains: int | None) -> CheckResult:
    if record is None:
        remedy = f"call add_wandb_callback(model) before model.train(), and {ENABLED}"
        return warning("record", f"{training} has no {RECORD_FILE}: this package did not log this training", remedy)
    missing = "" if record.id in runs else ", whose files are not here"
    project = "/".join(filter(None, (record.entity, record.project)))
    resume = "; model.train(resume=True) continues it" if not trains and _can_be_resumed(training) else ""
    return ok("record", f"run {record.id} of {project or 'no project'}{missing}{resume}")


def _can_be_resumed(training: Path) -> bool:
    try:
        return TrainingState.of(training).can_be_resumed
    except ConfigurationError:  # the checkpoint is damaged
        return False


def _is_resumed_without(training: Path, record: RunRecord | None) -> bool:
    """Return whether the training was resumed without updating its run record."""
    try:
        is_resumed = bool(OmegaConf.load(training / ARGUMENTS).resume)
        return is_resumed and record is not None and record.written_at < (training / ARGUMENTS).stat().st_mtime
    except Exception:  # noqa: BLE001  # a damaged file can raise anything
        return False


def _check_number(runs: Runs, record: RunRecord | None) -> CheckResult:
    ids = set(runs) | ({record.id} if record else set())
    if len(ids) == 1:
        return ok("one run", f"{ids.pop()} is the only one")
    shown = ", ".join(f"{run_id} ({pluralize(len(_epochs(runs.get(run_id, []))), 'epoch')})" for run_id in sorted(ids))
    if all(_epochs(runs.get(run_id, [])) for run_id in ids):
        causes = (
            "several trainings wrote into this directory (exist_ok=True), or several processes logged: give each a name"
        )
    else:
        causes = CAUSES
    return error("one run", f"several runs created: {shown}", causes)


def _trained_epochs(training: Path) -> set[int]:
    """Return the epochs in Ultralytics' own ``results.csv``."""
    try:
        return {int(row["epoch"]) for row in read_results(training / RESULTS).rows}
    except (OSError, ResultsError):
        return set()


def _check_metrics(run_id: str, sessions: list[RecordedRun], trained: set[int], *, resumed: bool) -> CheckResult:
    logged = _epochs(sessions)
    missing = sorted(trained - logged)
    if not logged and trained:
        remedy = f"call add_wandb_callback(model, run=run) before model.train(), and {ENABLED}; {WARNINGS}"
        return error("metrics", f"metrics missing: run {run_id} has no epoch, {RESULTS} has {len(trained)}", remedy)
    if missing:
        known = pluralize(len(logged & trained), "epoch")
        text = f"metrics missing: run {run_id} has {known}, {RESULTS} has {len(trained)}"
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        listed = f"missing: {'epoch' if len(missing) == 1 else 'epochs'} {', '.join(map(str, missing[:SHOWN]))}{more}"
        remedy = f"{listed}; {WARNINGS}"
        if resumed and missing[0] > max(logged):
            text += ": the training was resumed without the callback"
            remedy = f"{listed}; call add_wandb_callback(model) before model.train(resume=True), too"
        return error("metrics", text, remedy)
    if not trained:
        return warning(
            "metrics", f"{RESULTS} has no epoch: the training ended before the first", "look at what it printed"
        )
    whole = "the only epoch" if len(trained) == 1 else f"all {len(trained)} epochs"
    return ok("metrics", f"run {run_id} has {whole} of {RESULTS}")


def _check_checkpoint(run_id: str, sessions: list[RecordedRun], training: Path) -> list[CheckResult]:
    """Warn if a finished run holds no checkpoint.

    Only offline runs are checked: the files of an online run do not hold what was uploaded.
    """
    is_whole = all(run.path.parent.name.startswith("offline-") for run in sessions)
    logged = {artifact.name for run in sessions for artifact in run.artifacts if not artifact.is_input}
    file = training / "weights" / "best.pt"
    if not is_whole or sessions[-1].state != "finished" or not file.exists() or model_collection(run_id) in logged:
        return []
    text = f"run {run_id} does not hold {file}"
    return [warning("checkpoint", text, f"that is right with checkpoints='none'; otherwise {WARNINGS}")]


def _check_end(run_id: str, sessions: list[RecordedRun], trains: int | None) -> Iterator[CheckResult]:
    last = max(sessions, key=lambda run: (_started(run), run.path.stat().st_mtime))
    written = f"{datetime.fromtimestamp(last.path.stat().st_mtime).astimezone():%Y-%m-%d %H:%M:%S}"
    if trains and last.state == "running":
        yield ok("end", f"run {run_id} goes on in process {trains}; last written {written}")
    elif last.state == "running":
        folder = relative_path(last.path.parent)
        text = f"run {run_id} is not finished: {folder}, last written {written}, does not say how it ended"
        yield warning("end", text, "its process still runs, was killed, or did not call run.finish()")
    elif last.exit_code:
        yield warning(
            "end", f"run {run_id} failed with exit code {last.exit_code}", "look at what the training printed"
        )
    else:
        yield ok("end", f"run {run_id} is finished")


def _check_sent(runs: Runs, training: Path) -> list[CheckResult]:
    """Warn of unsent sessions. W&B marks sent files with ``.synced``, and the journal knows of online sessions.

    An online session without an end is cut off, too, unless the journal knows its process and the process runs.
    """
    known = {session.folder: session for session in find_sessions([training])}
    recorded = [run for sessions in runs.values() for run in sessions]
    folders = [run.path.parent.resolve() for run in recorded]
    live = {folder for folder, session in known.items() if session.live_pid or session.is_being_sent}
    cut_off = {run.path.parent.resolve() for run in recorded if run.state == "running"} - live
    cut_off |= {folder for folder, session in known.items() if session.is_cut_off}
    unsent = [
        folder
        for folder in folders
        if not [*folder.glob("*.synced")] and (not is_online_run_dir(folder) or folder in cut_off)
    ]
    if not unsent:
        return []
    others = [folder for folder in unsent if folder not in known]
    places = [*([training] if len(others) < len(unsent) else []), *others]
    command = sync_command(*map(relative_path, places))
    is_known = any(
        not is_online_run_dir(folder) or (folder in known and known[folder].is_sent is False) for folder in unsent
    )
    text = "on this disk only, not sent" if is_known else "cut off while they were sent, perhaps not complete at W&B"
    return [warning("sent", f"{text}: {pluralize(len(unsent), 'session')}", command)]
