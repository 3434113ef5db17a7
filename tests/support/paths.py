"""Paths of the project that tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
TINY = TESTS / "tiny.yaml"  # a model that trains in seconds
SCENARIOS = TESTS / "scenarios"  # scripts that tests run
EXAMPLES = ROOT / "examples"
