"""``ultralytics-wb-ddp import``: create runs from trainings that were not logged."""

from __future__ import annotations

import os
from collections import Counter

import click

from ultralytics_wb_ddp.cli.run_options import run_options


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@run_options(
    "project",
    "entity",
    "group",
    "mode",
    "checkpoints",
    mode=("online", "offline"),
    checkpoints=("best", "best+last", "none"),
)
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
def import_(paths: tuple[str, ...], *, dry_run: bool, **values: str | None) -> None:
    """Create runs from trainings that were not logged, once each.

    PATH, such as runs/**, is the directory of an Ultralytics training, or one above it. A run holds the arguments, the
    epochs of results.csv, the plots and the best checkpoint. Then wandb_run.json in the training's directory names the
    run. Directories that already have this file are skipped. The exit code is 1 if something could not be imported.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # the lines below report the same for each run
    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.tools.backfill import import_trainings

    options = RunOptions.parse(values, "--")
    count: Counter[str] = Counter()
    for result in import_trainings(paths, options, dry_run=dry_run):
        count[result.status] += 1
        click.echo(f"{result.directory}: {result.status}: {result.text}{f', {result.url}' if result.url else ''}")
        for note in result.notes:
            click.echo(f"  {note}")
    if not count:
        msg = f"there is no training in {' '.join(paths)}: a training's directory holds results.csv and args.yaml"
        raise click.ClickException(msg)
    click.echo(", ".join(f"{number} {status}" for status, number in count.items()))
    raise SystemExit(int(count["failed"] > 0))
