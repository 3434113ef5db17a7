"""Print the doctor's report, as text or as JSON."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

import click

from ultralytics_wb_ddp.doctor.finding import ok

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ultralytics_wb_ddp.doctor.finding import CheckResult
    from ultralytics_wb_ddp.doctor.plan import TrainingForecast

__all__ = ["as_json", "is_ok", "print_facts", "print_report"]

WIDTH = 80
COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}
OK_SUMMARIES = {  # by check: text of the short report when the check passes
    "python": "python {}",
    "ultralytics": "ultralytics {}",
    "wandb": "wandb {}",
    "torch": "torch {}",
    "cloudpickle": "cloudpickle {}",
    "stock": "stock callback",
    "environment": "environment",
    "directory": "directories",
}


def is_ok(findings: list[CheckResult]) -> bool:
    """Return whether no check has found an error; warnings do not count."""
    return all(finding.status != "error" for finding in findings)


def as_json(plan: TrainingForecast | None, findings: list[CheckResult]) -> str:
    """Return forecast, check results and verdict as one JSON object."""
    checks = [vars(finding) for finding in findings]
    content = {"plan": plan.as_dict() if plan else None, "checks": checks, "ok": is_ok(findings)}
    return json.dumps(content, indent=2)


def print_report(
    plan: TrainingForecast | None, findings: list[CheckResult], *, of_job: bool = False, verbose: bool = False
) -> None:
    """Print the forecast, the check results with their remedies, and a summary.

    With ``verbose`` each check has a line. Otherwise those of the machine that pass share one. For a job no script of
    the user opens a run.
    """
    if plan:
        print_facts("What will happen", plan.lines(of_job=of_job))
    click.secho("Checks", bold=True)
    shown = findings if verbose else _collapsed(findings)
    width = max(len(finding.check) for finding in shown)
    for finding in shown:
        _print_finding(finding, width)
    click.echo()
    click.secho(_summary(findings), bold=True)


def print_facts(heading: str, facts: Iterable[tuple[str, str]]) -> None:
    """Print a heading, then each title with its sentence."""
    click.secho(heading, bold=True)
    facts = list(facts)
    width = max(len(title) for title, _ in facts)
    for title, text in facts:
        click.echo(_wrapped(text, f"  {title:<{width}}  ", " " * (width + 4)))
    click.echo()


def _collapsed(findings: list[CheckResult]) -> list[CheckResult]:
    """Return the results, with all passed checks of the machine as one."""
    passed = [finding for finding in findings if finding.status == "ok" and finding.check in OK_SUMMARIES]
    if not passed:
        return findings
    summaries = dict.fromkeys(OK_SUMMARIES[finding.check].format(finding.message) for finding in passed)
    return [*(finding for finding in findings if finding not in passed), ok("others", ", ".join(summaries))]


def _print_finding(finding: CheckResult, width: int) -> None:
    status = f"{finding.status:<7}"
    start, indent = f"  {status}  {finding.check:<{width}}  ", " " * (width + 13)
    text = _wrapped(finding.message, start, indent)
    click.echo(text.replace(status, click.style(status, fg=COLOURS[finding.status]), 1))
    if finding.remedy:
        click.echo(_wrapped(finding.remedy, f"{indent}-> ", f"{indent}   "))


def _wrapped(text: str, start: str, indent: str) -> str:
    """Return text in lines of 80 columns. Paths and URLs stay whole."""
    lines = textwrap.wrap(text, WIDTH - len(indent), break_long_words=False, break_on_hyphens=False) or [""]
    return start + f"\n{indent}".join(lines)


def _summary(findings: list[CheckResult]) -> str:
    counts = {status: sum(1 for finding in findings if finding.status == status) for status in ("error", "warning")}
    parts = [f"{count} {status}{'' if count == 1 else 's'}" for status, count in counts.items() if count]
    return ", ".join(parts) or "everything is in order"
