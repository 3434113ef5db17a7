"""``ultralytics-wb-ddp import``: create runs from trainings that were not logged."""

from __future__ import annotations

import os
from collections import Counter

import click


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--project", help="Project of the runs; by default that of a logged training.")
@click.option("--entity", help="User or team that owns the project.")
@click.option("--group", help="Group of the runs.")
@click.option("--mode", type=click.Choice(["online", "offline"]), help="Mode of the runs.")
@click.option(
    "--checkpoints",
    type=click.Choice(["best", "best+last", "none"]),
    default="best",
    show_default=True,
    help="Which checkpoints become artifacts.",
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
