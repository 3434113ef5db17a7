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


def only(*numbers: int) -> list[str]:
    return [word for number in numbers for word in ("--only", str(number))]


BEFORE_E = [word for usage in ("A", "B closed", "B open", "C", "D") for word in ("--usage", usage)]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "words",
    [
        pytest.param([*BEFORE_E, "--seed", "11", "--processes", "1", *only(2, 4, 6, 12)], id="one-process"),
        pytest.param([*BEFORE_E, "--seed", "1", *only(38)], id="two-processes"),
        pytest.param(["--usage", "E", "--seed", "3", *only(0, 1, 2)], id="no-callback", marks=NIGHTLY),
    ],
)
def test_short_campaign_finds_no_violation(words: list[str]) -> None:
    assert f"| all |  | {words.count('--only')} | 0 |" in campaign(*words)


@NIGHTLY
@pytest.mark.timeout(40_000)
def test_long_campaign_finds_no_violation() -> None:
    assert "| all |  | 200 | 0 |" in campaign("--seed", "2", "--runs", "200")
