"""``ultralytics-wb-ddp demo``: a training in two processes, to see it work."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["demo"]


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("ultralytics_wb_ddp_demo"),
    show_default=True,
    help="Where dataset, training and run are written.",
)
@click.option("--images", type=click.IntRange(8), default=32, show_default=True, help="Number of images to generate.")
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Number of epochs.")
@click.option("--online", is_flag=True, help="Send the run to W&B; needs 'wandb login'. Without it the run stays here.")
@click.option("--verbose", is_flag=True, help="Show what Ultralytics and W&B print instead of a progress bar.")
def demo(directory: Path, images: int, epochs: int, *, online: bool, verbose: bool) -> None:
    """Train in two processes to see that one run comes out.

    YOLO11n is trained on generated images; that needs no GPU, no account and no network.
    """
    from subprocess import CalledProcessError

    from ultralytics_wb_ddp.demo import run_demo

    try:
        run_demo(directory, images=images, epochs=epochs, online=online, verbose=verbose)
    except CalledProcessError as error:
        msg = f"the training ended with exit code {error.returncode}; --verbose shows what it printed"
        raise click.ClickException(msg) from error
