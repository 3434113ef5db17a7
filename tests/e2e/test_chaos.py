"""The campaign of random faults: a short one finds nothing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.jobs import NIGHTLY
from support.paths import ROOT, TESTS


def campaign(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "chaos", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS), *sys.path[1:]])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# The numbers below were chosen among these; a further usage would change what each of them draws.
AMONG = [word for usage in ("A", "B closed", "B open", "C", "D") for word in ("--usage", usage)]


def only(*numbers: int) -> list[str]:
    return [word for number in numbers for word in ("--only", str(number))]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--seed", "11", "--processes", "1", *AMONG, *only(2, 4, 6, 12)], id="one-process"),
        pytest.param(["--seed", "1", *AMONG, *only(38)], id="two-processes"),
        pytest.param(["--usage", "E", "--seed", "3", *only(0, 1, 2)], id="no-callback", marks=NIGHTLY),
        pytest.param(
            ["--seed", "1", "--usage", "F", "--processes", "torchrun", *only(0, 1, 2, 3)],
            id="program",
            marks=NIGHTLY,
        ),
    ],
)
def test_short_campaign_finds_no_violation(words: list[str]) -> None:
    assert f"| all |  | {words.count('--only')} | 0 |" in campaign(*words)


@NIGHTLY
@pytest.mark.timeout(40_000)
def test_long_campaign_finds_no_violation() -> None:
    assert "| all |  | 200 | 0 |" in campaign("--seed", "2", "--runs", "200")
