"""Exit codes of exceptions, which decide the state of a run."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp.utils.errors import exit_code_of


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (None, 0),
        (RuntimeError(), 1),
        (KeyboardInterrupt(), 255),
        (SystemExit(), 0),
        (SystemExit(0), 0),
        (SystemExit(3), 3),
        (SystemExit("a message"), 1),
    ],
)
def test_exit_code_is_that_of_the_exception(error: BaseException | None, exit_code: int) -> None:
    assert exit_code_of(error) == exit_code
