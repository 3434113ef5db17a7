"""The command that measures writes the table of the benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from support.jobs import NIGHTLY
from support.paths import ROOT

BENCHMARKS = ROOT / "benchmarks"


@NIGHTLY
def test_command_writes_the_table(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "compare.py"), "batches", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500, check=True)

    lines = json.loads((tmp_path / "out/benchmark.json").read_text())
    assert [line["title"] for line in lines] == ["a batch that is not logged, mean", "a batch that is logged, mean"]
    assert all(line["values"]["ours"][0] > 0 for line in lines)
    assert (tmp_path / "out/benchmark.md").read_text() in done.stdout
