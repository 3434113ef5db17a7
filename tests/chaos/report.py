"""The result of a campaign: violations as text, and a table of usages and faults in Markdown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from chaos.evidence import Outcome
from chaos.invariants import INVARIANTS
from chaos.limits import limit_of
from chaos.plan import Plan

COLUMNS = ("usage", "faults", "runs", "violations", "limits")


@dataclass
class Verdict:
    """What a trial has shown.

    Attributes:
        plan: The plan.
        violations: Violations, each with the name of its invariant.
        limits: Names of the limits that explain others.
    """

    plan: Plan
    violations: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)


def judge(outcome: Outcome) -> Verdict:
    """Return the verdict on a trial."""
    verdict = Verdict(outcome.plan)
    for invariant in INVARIANTS:
        name = invariant.__name__
        for text in invariant(outcome):
            limit = limit_of(name, outcome)
            if limit:
                verdict.limits.append(limit.name)
            else:
                verdict.violations.append(f"{name}: {text}")
    return verdict


def table(verdicts: list[Verdict]) -> str:
    """Return the table: a line for each usage and class of faults."""
    cells: dict[tuple[str, str], Counter[str]] = {}
    for verdict in verdicts:
        group = verdict.plan.strikes[0].kind.group
        cell = cells.setdefault((verdict.plan.place, group), Counter())
        cell["runs"] += 1
        cell["violations"] += bool(verdict.violations)
        cell["limits"] += bool(verdict.limits)
    lines = [[*place, *(cell[name] for name in COLUMNS[2:])] for place, cell in sorted(cells.items())]
    total = [sum(cell[name] for cell in cells.values()) for name in COLUMNS[2:]]
    rows = [COLUMNS, ["---"] * len(COLUMNS), *lines, ["all", "", *total]]
    text = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)
    reasons = Counter(name for verdict in verdicts for name in set(verdict.limits))
    return "\n".join([text, *(f"\n{count} x limit: {name}" for name, count in sorted(reasons.items()))])
