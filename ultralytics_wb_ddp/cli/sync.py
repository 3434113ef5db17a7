"""``ultralytics-wb-ddp sync``: send runs from disk to W&B."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH...",
)
def sync(paths: tuple[Path, ...]) -> None:
    """Send what W&B lacks of runs on this disk.

    PATH is a training's directory, or a folder that W&B's client has written. Each leads to all sessions of its runs on
    this machine. Nothing is sent twice, so the command may be called again at any time.
    """
    from ultralytics_wb_ddp.tools.sync import sync

    try:
        raise SystemExit(sync(paths))
    except ValueError as error:  # a folder of another kind
        raise click.ClickException(str(error)) from error
