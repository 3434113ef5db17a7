"""``ultralytics-wb-ddp sync``: what the service has not got."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER...",
)
def sync(folders: tuple[Path, ...]) -> None:
    """Send W&B what only the disk has of a run.

    FOLDERs are those that W&B's client has written. Give the parts of a run in their order. Rows that have arrived are
    not sent again, as 'wandb sync' would do.
    """
    from ultralytics_wb_ddp.tools.sync import sync

    try:
        raise SystemExit(sync(folders))
    except ValueError as error:  # a folder of another kind
        raise click.ClickException(str(error)) from error
