"""What a terminal shows of a command's progress."""

from __future__ import annotations

import io

import pytest

from ultralytics_wb_ddp.utils.progress import status, track


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "is_shown"), [(Terminal(), True), (io.StringIO(), False)])
def test_progress_is_shown_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, *, is_shown: bool
) -> None:
    monkeypatch.setattr("sys.stderr", stream)

    assert list(track([1, 2, 3], "counting")) == [1, 2, 3]
    assert ("counting" in stream.getvalue() and "100%" in stream.getvalue()) is is_shown


def test_what_goes_on_is_shown_on_a_terminal_and_wiped_away(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "30")
    with status("importing runs/a-name-that-does-not-fit"):
        line = stream.getvalue()

    assert line == "importing runs/a-name-tha ..."
    assert len(line) < 30
    assert stream.getvalue() == line + "\r\x1b[K"
