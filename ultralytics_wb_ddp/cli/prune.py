"""``ultralytics-wb-ddp prune``: checkpoints that W&B need not keep."""

from __future__ import annotations

import click


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--keep", type=click.IntRange(0), required=True, help="How many of the newest checkpoints are kept.")
@click.option("--ttl", type=click.IntRange(1), metavar="DAYS", help="Let the others live on for DAYS instead.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
def prune(run: str, keep: int, ttl: int | None, *, dry_run: bool) -> None:
    """Delete a run's older checkpoints at W&B.

    RUN is entity/project/run-id, or its web address. The best and the last one are kept, and those with an alias of
    yours.
    """
    from ultralytics_wb_ddp.tools.prune import prune

    chosen = prune(run, keep=keep, ttl=ttl, dry_run=dry_run, progress=True)
    verb = f"{'would be' if dry_run else 'is'} deleted{f' in {ttl} days' if ttl else ''}"
    for version in chosen:
        about = ", ".join([*version.aliases, f"{version.size} byte{'' if version.size == 1 else 's'}"])
        click.echo(f"v{version.number} ({about}) {verb}")
    if not chosen:
        click.echo("nothing to do")
