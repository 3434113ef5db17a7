"""``ultralytics-wb-ddp prune``: delete old checkpoints at W&B."""

from __future__ import annotations

import click


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--keep", type=click.IntRange(0), required=True, help="Number of newest checkpoints to keep.")
@click.option("--ttl", type=click.IntRange(1), metavar="DAYS", help="Delete the others in DAYS instead of now.")
@click.option("--dry-run", is_flag=True, help="Only show which checkpoints would be deleted.")
def prune(run: str, keep: int, ttl: int | None, *, dry_run: bool) -> None:
    """Delete a run's older checkpoints at W&B.

    RUN is entity/project/run-id, or its URL. The best and the last checkpoint are kept, and those to which you gave an
    alias.
    """
    from ultralytics_wb_ddp.artifacts.prune import prune

    versions = prune(run, keep=keep, ttl=ttl, dry_run=dry_run, progress=True)
    verb = f"{'would be' if dry_run else 'is'} deleted{f' in {ttl} days' if ttl else ''}"
    for version in versions:
        about = ", ".join([*version.aliases, f"{version.size} byte{'' if version.size == 1 else 's'}"])
        click.echo(f"v{version.number} ({about}) {verb}")
    if not versions:
        click.echo("nothing to do")
