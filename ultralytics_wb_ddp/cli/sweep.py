"""``ultralytics-wb-ddp sweep``: run the trials of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ultralytics_wb_ddp.cli.click_types import KeyValueType

if TYPE_CHECKING:
    from ultralytics_wb_ddp.sweeps.sweep_api import Sweep


@click.command()
@click.argument("file", metavar="SWEEP.YAML", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("overrides", nargs=-1, type=KeyValueType("method=random"), metavar="[KEY=VALUE]...")
@click.option("--count", type=click.IntRange(1), help="Number of trials; by default until the sweep is over.")
@click.option(
    "--agents",
    type=click.IntRange(1, 20),
    default=1,
    show_default=True,
    help="Number of trials at a time; they share the job's devices equally.",
)
@click.option("--join", metavar="SWEEP", help="Run trials of a sweep that exists: entity/project/id or its URL.")
def sweep(file: Path, overrides: tuple[str, ...], *, count: int | None, agents: int, join: str | None) -> None:
    """Run the trials of SWEEP.YAML, each in a run of its own.

    The file is a W&B sweep configuration whose section 'job' describes the training. KEY=VALUE win over the file, such
    as method=random or job.train.epochs=5. The exit code is 0 when a trial has succeeded.
    """
    from ultralytics_wb_ddp.sweeps.run_sweep import run_sweep
    from ultralytics_wb_ddp.sweeps.sweep_config import SweepConfig

    config = SweepConfig.read(file, overrides)
    result = run_sweep(join or config, config.job if join else None, count=count, agents=agents)
    _show(result)
    raise SystemExit(bool(result.trials) and all(trial.exit_code for trial in result.trials))


def _show(sweep: Sweep) -> None:
    for trial in sweep.trials:
        failed = f"failed, {trial.exit_code}" if trial.exit_code else ""
        state = failed or ("stopped early" if trial.stopped else "finished")
        parameters = ", ".join(f"{name}={value}" for name, value in trial.parameters.items())
        click.echo(f"{trial.run_id}  {state:13}  {parameters}")
    succeeded = sum(not trial.exit_code for trial in sweep.trials)
    click.echo(f"{succeeded} of {len(sweep.trials)} trials have succeeded: {sweep.url}")
