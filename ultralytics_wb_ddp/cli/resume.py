"""``ultralytics-wb-ddp resume``: continue a training on another machine."""

from __future__ import annotations

from pathlib import Path

import click

from ultralytics_wb_ddp.cli.click_types import KeyValueType


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("overrides", nargs=-1, type=KeyValueType("device=0,1"), metavar="[KEY=VALUE]...")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="Directory for the training.")
@click.option("--data", metavar="DATA", help="The dataset, if its path is different on this machine.")
@click.option("--alias", default="last", show_default=True, help="Checkpoint to continue from: 'last' or 'epoch-N'.")
@click.option("--no-train", is_flag=True, help="Only restore the directory.")
def resume(
    run: str, overrides: tuple[str, ...], directory: Path | None, data: str | None, alias: str, *, no_train: bool
) -> None:
    """Continue a training on this machine, in the same run.

    RUN is entity/project/run-id. Its last checkpoint is downloaded to --dir, by default runs/RUN-ID.
    KEY=VALUE are arguments of model.train that may change when a training is resumed, such as device=0,1 or batch=32.
    """
    from omegaconf import OmegaConf

    from ultralytics_wb_ddp.jobs.train_arguments import check_train_arguments
    from ultralytics_wb_ddp.tools.restore import restore_checkpoint
    from ultralytics_wb_ddp.utils.serialization import to_plain

    options = OmegaConf.from_dotlist(list(overrides))
    arguments = check_train_arguments(to_plain(options), "model.train", also=["trainer"])
    checkpoint = restore_checkpoint(run, directory, data=data, alias=alias)
    click.echo(f"{checkpoint}")
    if not no_train:
        from ultralytics import YOLO

        from ultralytics_wb_ddp import add_wandb_callback

        model = YOLO(checkpoint)
        add_wandb_callback(model)
        model.train(resume=True, **arguments)
