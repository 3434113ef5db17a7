"""What ``sync`` decides from the data on disk and from the answers of W&B."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultralytics_wb_ddp.runs.journal import Session
from ultralytics_wb_ddp.tools.sync import Arrived, End, Part, _first_step, _merged_summary, row_key
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, encode_records


def part(folder: Path, code: int | None = None, **session: object) -> Part:
    """Return a session with an empty file."""
    folder.mkdir()
    file = folder / "run-abc.wandb"
    file.write_bytes(encode_records(b":W&B\0\0\0", []))
    run = RecordedRun(file, id="abc", exit_code=code, history=[{"_step": 5}, {"_step": 6}])
    return Part(Session(folder, "abc", **session), run)  # type: ignore[arg-type]


def test_row_is_known_by_its_names_and_plain_values() -> None:
    row = {"_step": 1, "x": 1, "more": {"y": 2.5}, "is_best": True, "chart": {"_type": "image-file", "path": "a"}}

    assert row_key(row) == row_key({**row, "_step": 7, "x": 1.0, "chart": {"_type": "image-file", "path": "b"}})
    assert row_key(row) != row_key({**row, "x": 2})
    assert row_key(row) != row_key({**row, "more": {"y": 2.6}})
    assert row_key({"x": float("nan"), "y": float("-inf")}) == row_key({"x": "NaN", "y": "-Infinity"})


def test_row_without_plain_values_is_known_by_its_names() -> None:
    image = {"_type": "image-file", "path": "a"}

    assert row_key({"image": image, "_step": 1}) == row_key({"image": {**image, "path": "b"}, "_step": 2})
    assert row_key({"image": image}) != row_key({"mask": image})


@pytest.mark.parametrize(
    ("state", "exit_code", "end"),
    [
        ("finished", 1, End(0, is_own=False)),
        ("failed", 3, End(3, is_own=False)),
        ("failed", None, End(1, is_own=False)),
        ("preempted", 0, End(143, is_preempted=True, is_own=False)),
    ],
)
def test_run_that_has_ended_at_wandb_keeps_its_end(tmp_path: Path, state: str, exit_code: int | None, end: End) -> None:
    first, last = part(tmp_path / "run-1-abc"), part(tmp_path / "run-2-abc", exit_code)

    assert End.of_run(Arrived(exists=True, state=state), first, [first, last]) == end
    assert End.of_run(Arrived(exists=True, state=state), last, [first, last]) == end


def test_run_without_an_end_at_wandb_gets_that_of_its_newest_session(tmp_path: Path) -> None:
    first, last = part(tmp_path / "run-1-abc", 1), part(tmp_path / "run-2-abc", None, exit_code=7)
    running = Arrived(exists=True, state="running")

    assert End.of_run(running, last, [first, last]) == End(7)
    assert End.of_run(running, first, [first, last]) == End(7, is_own=False)


def test_newest_session_that_was_written_offline_brings_its_own_end(tmp_path: Path) -> None:
    last = part(tmp_path / "offline-run-1-abc", 2)
    sent = part(tmp_path / "offline-run-2-abc", 2, is_sent=True)
    finished = Arrived(exists=True, state="finished")

    assert End.of_run(finished, last, [last]) == End(2)
    assert End.of_run(finished, sent, [sent]) == End(0, is_own=False)


def test_best_values_of_both_summaries_are_kept() -> None:
    there = {"score": {"max": 0.5}, "loss": {"min": 0.1}, "x": 1, "_step": 4}
    here = {"score": {"max": 0.9}, "loss": {"min": 0.2}, "x": 2, "y": 3}

    best = {"score": {"max": 0.9}, "loss": {"min": 0.1}, "y": 3}
    assert _merged_summary(there, here, is_newer=True) == {**best, "x": 2}
    assert _merged_summary(there, here, is_newer=False) == {**best, "x": 1}


def test_rows_of_an_online_session_are_sent_after_those_that_have_arrived(tmp_path: Path) -> None:
    online = part(tmp_path / "run-1-abc")
    assert _first_step(online, Arrived()) is None

    online.missing = {1}
    assert _first_step(online, Arrived(exists=True, last_step=5)) is None, "its steps are free"
    assert _first_step(online, Arrived(exists=True, last_step=8)) == 9
