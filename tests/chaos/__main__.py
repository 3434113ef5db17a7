"""Runs a campaign of random faults; started by scripts/chaos."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from pathlib import Path

import click

from chaos.evidence import Life, Outcome
from chaos.faults import FAULTS
from chaos.plan import draw
from chaos.report import judge, table
from chaos.trial import Trials
from chaos.usages import PROCESSES, USAGES
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset

FAULT_NAMES = sorted({*FAULTS, *(fault.group for fault in FAULTS.values())})


@click.command()
@click.option("--runs", type=click.IntRange(1), default=20, show_default=True, help="Number of runs.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed, from which each run is drawn.")
@click.option("--only", type=click.IntRange(0), multiple=True, help="Number of a run that is done alone.")
@click.option("--usage", "usages", type=click.Choice(USAGES), multiple=True, help="Usage to draw from.")
@click.option("--processes", type=click.Choice(PROCESSES), multiple=True, help="Processes to draw from.")
@click.option("--fault", "faults", type=click.Choice(FAULT_NAMES), multiple=True, help="Fault, or class of faults.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Where each run's directory is kept.")
@click.option("--dry-run", is_flag=True, help="Print the plans and start nothing.")
def main(
    runs: int,
    seed: int,
    only: tuple[int, ...],
    usages: tuple[str, ...],
    processes: tuple[str, ...],
    faults: tuple[str, ...],
    keep: Path | None,
    *,
    dry_run: bool,
) -> None:
    """Train with random faults, check what must still hold, and print a table."""
    plans = [draw(seed, number, usages, processes, faults) for number in only or range(runs)]
    if dry_run:
        click.echo("\n".join(map(str, plans)))
        return
    # A shell that starts this in the background ignores Ctrl-C for it, and so would its jobs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="chaos-") as temporary:
        folder = (keep or Path(temporary)).resolve()
        data = make_shapes_dataset(folder / "shapes", images=16, classes=2)
        trials, verdicts = Trials(data), []
        for plan in plans:
            begun, directory = time.monotonic(), folder / f"{plan.seed}-{plan.number}"
            click.echo(str(plan))
            outcome = trials.run(plan, directory)
            verdict = judge(outcome)
            verdicts.append(verdict)
            happened = "; ".join(what_happened(outcome, life) for life in outcome.lives)
            click.echo(f"  {time.monotonic() - begun:.0f} s; {happened}")
            for name in sorted(set(verdict.limits)):
                click.echo(f"  limit: {name}")
            for violation in verdict.violations:
                click.echo(f"  VIOLATION {violation}")
            if verdict.violations and keep:
                click.echo(f"  see {directory}")
    click.echo(f"\n{table(verdicts)}")
    sys.exit(any(verdict.violations for verdict in verdicts))


def what_happened(outcome: Outcome, life: Life) -> str:
    """Return what was done to a life, and how it ended."""
    drawn = "as drawn" if outcome.happened(life) else "too late"
    done = ", ".join(life.done) or (drawn if life.strike else "nothing")
    return f"life {life.number} of {life.seconds:.0f} s: {done}: exit code {life.exit_code}"


if __name__ == "__main__":
    main()
