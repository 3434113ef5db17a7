"""The journal of a run: from one path to all its sessions."""

from __future__ import annotations

import os
from pathlib import Path

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
