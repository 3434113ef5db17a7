"""The benchmarks' table says what was measured."""

from __future__ import annotations

import sys

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


def test_measure_without_a_goal_and_without_a_rival_has_a_line() -> None:
    text = markdown([Line("part", "memory", "MiB", {"ours": [101.4]}, remark="one wandb-core")])

    assert text.splitlines()[2] == "| memory | MiB |  |  | 101 |  |  |"
    assert text.splitlines()[-1] == "- memory: one wandb-core"
