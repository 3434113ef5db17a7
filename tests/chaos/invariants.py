"""What must hold after each trial, whatever was drawn: functions that return what was violated, as text."""

from __future__ import annotations

import base64
import itertools
import math
import re
from collections.abc import Callable
from pathlib import Path

from wandb_server import StoredRun

from chaos.endings import ending, was_trained
from chaos.evidence import COMPANION, Outcome
from chaos.trial import API_KEY
from chaos.usages import EPOCHS, RUN_ID

Invariant = Callable[[Outcome], list[str]]
EPOCH_ROW = "train/box_loss"  # a key of the row of an epoch, and of no other row
TOLERANCE = 1e-3  # results.csv has few digits
WORDS_OF_MISSING_CHECKPOINT = re.compile(r"WARNING.*(?:checkpoint|best\.pt|artifact)", re.IGNORECASE)
READ_SIZE = 1 << 24  # bytes of a file that are searched


def one_run(outcome: Outcome) -> list[str]:
    """Return a violation unless there is one run, of the expected id."""
    ids = [run.id for run in outcome.own_runs]
    if ids == [RUN_ID] or (not ids and not ending(outcome).needs_run):
        return []
    return [f"runs at the server: {ids or 'none'}; expected: {RUN_ID}"]


def every_epoch_once(outcome: Outcome) -> list[str]:
    """Return a violation for each epoch that is missing, twice there, or has other values than results.csv."""
    found = []
    for run in _run(outcome):
        rows = [row for row in run.history if EPOCH_ROW in row]
        logged = [int(row["epoch"]) for row in rows]
        certain = _epochs_of_which_the_run_must_have_rows(outcome)
        possible = set(outcome.results)
        found += [f"epoch {epoch} is missing; rows: {logged}" for epoch in sorted(certain - set(logged))]
        found += [f"epoch {e} has {logged.count(e)} rows: {logged}" for e in sorted(set(logged)) if logged.count(e) > 1]
        found += [f"epoch {epoch} is not in results.csv" for epoch in sorted(set(logged) - possible)]
        if logged != sorted(logged):
            found.append(f"epochs are in the wrong order: {logged}")
        found += [text for row in rows for text in _differences(row, outcome.results.get(int(row["epoch"]), {}))]
    return found


def _epochs_of_which_the_run_must_have_rows(outcome: Outcome) -> set[int]:
    """Return the epochs after which a callback of the user's ran after ours, and all of a training that has ended."""
    if any(was_trained(outcome, life) for life in outcome.lives):
        return set(outcome.results)
    marks = [*outcome.marked("after on_fit_epoch_end")]
    return {mark.epoch + 1 for mark in marks if mark.epoch is not None} & set(outcome.results)


def _differences(row: dict[str, float], expected: dict[str, float]) -> list[str]:
    texts = []
    for name, value in expected.items():
        if name == "time":
            continue
        logged = row.get(name)
        if not isinstance(logged, (int, float)):
            texts.append(f"epoch {row['epoch']} has no {name}")
        elif not math.isclose(logged, value, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            texts.append(f"epoch {row['epoch']}: {name} is {logged}, in results.csv {value}")
    return texts


def no_row_lost(outcome: Outcome) -> list[str]:
    """Return a violation for rows that were overwritten, are out of step, or that the user logged and that are not there."""
    found = []
    for run in _run(outcome):
        found += [f"a row was overwritten: {row[:200]}" for row in run.destroyed_rows]
        steps = [row.get("_step") for row in run.history]
        if any(later <= earlier for earlier, later in itertools.pairwise(steps)):  # a killed client may skip one
            found.append(f"steps are {steps}")
        for mark, key in (("before", "user/before"), ("after", "user/after")):
            lives = [each.life for each in outcome.marked(mark)]
            logged = [row[key] for row in run.history if key in row]
            if sorted(logged) != sorted(lives):
                found.append(f"{key} is there for lives {logged}; the job has logged it in lives {lives}")
    return found


def true_state(outcome: Outcome) -> list[str]:
    """Return a violation unless state and exit code of the run are those of the job."""
    expected = ending(outcome)
    words = " or ".join(f"{state}, {code}" for state, code in sorted(expected.states, key=str))
    return [
        f"the run is {run.state}, {run.exit_code}; expected: {words}: {expected.reason}"
        for run in _run(outcome)
        if (run.state, run.exit_code) not in expected.states
    ]


def training_unharmed(outcome: Outcome) -> list[str]:
    """Return a violation if W&B's trouble, or none, has changed how a life of the job has ended."""
    found = []
    for life in outcome.lives:
        kind = life.strike.kind if life.strike else None
        if outcome.happened(life) and kind and not kind.is_wandb and kind.group != "stop":
            continue
        if life.exit_code != 0:
            found.append(f"life {life.number} has ended with exit code {life.exit_code}; expected: 0")
    if outcome.last.exit_code == 0 and set(outcome.results) != set(range(1, EPOCHS + 1)):
        found.append(f"results.csv has the epochs {sorted(outcome.results)}; expected: 1 to {EPOCHS}")
    return found


def time_bounded(outcome: Outcome) -> list[str]:
    """Return a violation for each life that has taken too long."""
    return [
        f"life {life.number} took {life.seconds:.0f} s and was ended; allowed: {life.bound:.0f} s"
        for life in outcome.lives
        if life.exit_code is None
    ]


def nothing_left(outcome: Outcome) -> list[str]:
    """Return a violation for each process that is left after the end of the job."""
    return [
        f"left after life {life.number}: {process}"
        for life in outcome.lives
        if life.exit_code is not None
        for process in life.left
    ]


def key_kept_secret(outcome: Outcome) -> list[str]:
    """Return a violation for each place in which the API key stands."""
    secrets = [API_KEY.encode(), base64.b64encode(f"api:{API_KEY}".encode())]

    def holds(data: bytes) -> bool:
        return any(secret in data for secret in secrets)

    files = [file for file in outcome.directory.rglob("*") if file.is_file() and not file.is_symlink()]
    found = [f"the API key is in {file}" for file in files if holds(_content(file))]
    lives = [*outcome.lives, *([outcome.companion] if outcome.companion else [])]
    found += [
        f"the API key is in a command line: {line}" for life in lives for line in life.shown if holds(line.encode())
    ]
    found += ["the API key is in the output of a command" for each in outcome.commands if holds(each.output.encode())]
    return found + ["the API key was sent in a request" for data in outcome.received if holds(data)]


def _content(file: Path) -> bytes:
    with file.open("rb") as content:
        return content.read(READ_SIZE)


def checkpoint_arrived(outcome: Outcome) -> list[str]:
    """Return a violation if the best checkpoint of a training that has ended is neither at the server nor reported."""
    if not outcome.checkpoint_size or not any(was_trained(outcome, life) for life in outcome.lives):
        return []
    for run in _run(outcome):
        models = [each for each in run.artifacts if each.type == "model" and each.state == "COMMITTED"]
        best = [each for each in models if "best" in each.aliases]
        sizes = {len(data) for each in best for name, data in each.uploads.items() if name.startswith("files/")}
        said = any(WORDS_OF_MISSING_CHECKPOINT.search(life.output) for life in outcome.lives)
        if not best and not said:
            return ["the best checkpoint is not at the server, and no message names it"]
        if best and outcome.checkpoint_size not in sizes and not said:
            return [f"best.pt has {outcome.checkpoint_size} bytes, and at the server {sorted(sizes)}"]
    return []


def commands_succeed(outcome: Outcome) -> list[str]:
    """Return a violation for each command of a message that has failed."""
    return [
        f"'{' '.join(each.words)}' has ended with {each.exit_code}: {each.output.strip()[-300:]}"
        for each in outcome.commands
        if each.exit_code != 0
    ]


def parts_named(outcome: Outcome) -> list[str]:
    """Return a violation for each session on disk that neither a message nor the doctor has named.

    A script that was killed before its training began cannot name its own run, and there is no training to examine.
    """
    if not outcome.marked("after on_pretrain_routine_end"):
        return []
    return [f"{folder} is not sent, and neither a message nor the doctor names it" for folder in outcome.unnamed]


def companion_unharmed(outcome: Outcome) -> list[str]:
    """Return a violation unless the training beside this one has its own complete run."""
    if outcome.companion is None:
        return []
    runs = [run for run in outcome.runs if run.id == COMPANION]
    epochs = [[row["epoch"] for row in run.history if EPOCH_ROW in row] for run in runs]
    if outcome.companion.exit_code == 0 and epochs == [list(range(1, EPOCHS + 1))]:
        return []
    return [f"the training beside it has ended with {outcome.companion.exit_code}, and its runs have epochs {epochs}"]


def _run(outcome: Outcome) -> list[StoredRun]:
    return [run for run in outcome.own_runs if run.id == RUN_ID]


INVARIANTS: tuple[Invariant, ...] = (
    one_run,
    every_epoch_once,
    no_row_lost,
    true_state,
    training_unharmed,
    time_bounded,
    nothing_left,
    key_kept_secret,
    checkpoint_arrived,
    commands_succeed,
    parts_named,
    companion_unharmed,
)
