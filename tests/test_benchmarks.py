"""The benchmarks' table says what was measured, and the command writes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.jobs import NIGHTLY
from support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from table import Line, markdown  # noqa: E402  # found through the line above


def test_ratio_is_the_median_of_pairs_that_were_measured_one_after_the_other() -> None:
    line = Line("part", "start", "s", {"stock": [1.0, 2.0, 4.0], "ours": [0.5, 0.5, 4.0]}, most=0.5)

    assert line.ratio == 0.5
    assert line.is_met
    assert line.goal == "at most 0.5 of stock callback: yes"
    assert line.shown("ours") == "0.5 (0.5 to 4)"


def test_goal_that_is_missed_is_said() -> None:
    line = Line("part", "a batch", "µs", {"ours": [310.0]}, against="", most=300)

    assert (line.ratio, line.is_met, line.goal) == (None, False, "at most 300 µs: **no**")


def test_what_has_no_goal_and_nobody_to_be_compared_with_has_a_line_all_the_same() -> None:
    text = markdown([Line("part", "memory", "MiB", {"ours": [101.4]}, remark="one wandb-core")])

    assert text.splitlines()[2] == "| memory | MiB |  |  | 101 |  |  |"
    assert text.splitlines()[-1] == "- memory: one wandb-core"


@NIGHTLY
def test_command_writes_the_table(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "compare.py"), "batches", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=True)

    lines = json.loads((tmp_path / "out/benchmark.json").read_text())
    assert [line["title"] for line in lines] == ["a batch that is not logged, mean", "a batch that is logged, mean"]
    assert all(line["values"]["ours"][0] > 0 for line in lines)
    assert (tmp_path / "out/benchmark.md").read_text() in done.stdout
