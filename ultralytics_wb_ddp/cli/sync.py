"""``ultralytics-wb-ddp sync``: send runs from disk to W&B."""

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
    """Send data of a run that is only on disk to W&B.

    FOLDERs are those that W&B's client has written. Give the parts of a run in their order. Rows that have arrived are
    not sent again; 'wandb sync' would send them twice.
    """
    from ultralytics_wb_ddp.tools.sync import sync

    try:
        raise SystemExit(sync(folders))
    except ValueError as error:  # a folder of another kind
        raise click.ClickException(str(error)) from error
