"""``ultralytics-wb-ddp import``: trainings that nobody has logged, made into runs."""

from __future__ import annotations

import os
from collections import Counter

import click


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--project", help="Project of the runs; without it the one that a logged training would have.")
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
def import_(paths: tuple[str, ...], *, dry_run: bool, **given: str | None) -> None:
    """Make runs of trainings that were not logged, once each.

    PATH, such as runs/**, is the directory of an Ultralytics training, or one above it. A run holds the arguments, the
    epochs of results.csv, the pictures and the best checkpoint. wandb_run.json in the training's directory then names
    it; directories that name a run are skipped. The exit code is 1 if something could not be imported.
    """
    os.environ.setdefault("WANDB_SILENT", "true")  # what it says of each run says this, too
    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.tools.backfill import import_trainings

    options = RunOptions.parse(given, "--")
    count: Counter[str] = Counter()
    for done in import_trainings(paths, options, dry_run=dry_run):
        count[done.status] += 1
        click.echo(f"{done.directory}: {done.status}: {done.text}{f', {done.url}' if done.url else ''}")
        for note in done.notes:
            click.echo(f"  {note}")
    if not count:
        msg = f"there is no training in {' '.join(paths)}: a training's directory holds results.csv and args.yaml"
        raise click.ClickException(msg)
    click.echo(", ".join(f"{number} {status}" for status, number in count.items()))
    raise SystemExit(int(count["failed"] > 0))
