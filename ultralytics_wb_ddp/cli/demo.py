"""Run the demo: a two-process training in one W&B run."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ultralytics_wb_ddp.utils.logging import relative_path
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run
from ultralytics_wb_ddp.wandb_client.run_state import get_next_step

if TYPE_CHECKING:
    from collections.abc import Iterator


PROJECT = "ultralytics-wb-ddp-demo"
CLASSES = 3
BATCH = 16
PROCESSES = 2
LATEST = "latest-run"  # name of the link that W&B keeps next to its runs
_HEADER = ("written by", "rows", "what")


@click.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("ultralytics_wb_ddp_demo"),
    show_default=True,
    help="Directory for dataset, training and run.",
)
@click.option("--images", type=click.IntRange(8), default=32, show_default=True, help="Number of images to generate.")
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Number of epochs.")
@click.option(
    "--online", is_flag=True, help="Send the run to W&B; needs 'wandb login'. Without it the run stays on disk."
)
@click.option("--verbose", is_flag=True, help="Show the output of Ultralytics and W&B instead of a progress bar.")
def demo(directory: Path, images: int, epochs: int, *, online: bool, verbose: bool) -> None:
    """Train in two processes to see that one run comes out.

    YOLO11n is trained on generated images. No GPU, no account and no network is needed.
    """
    from subprocess import CalledProcessError

    try:
        run_demo(directory, images=images, epochs=epochs, online=online, verbose=verbose)
    except CalledProcessError as error:
        msg = f"the training ended with exit code {error.returncode}; --verbose shows what it printed"
        raise click.ClickException(msg) from error


def run_demo(directory: Path, *, images: int, epochs: int, online: bool, verbose: bool) -> None:
    """Train YOLO11n in two CPU processes, and print the resulting run."""
    _set_environment(verbose=verbose)
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    previous = set(find_run_files(directory))

    click.echo(f"1/4  generating {images} images of {CLASSES} shapes in {relative_path(directory / 'shapes')}")
    from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset

    data = make_shapes_dataset(directory / "shapes", images=images, classes=CLASSES)

    click.echo("2/4  creating the run")
    from ultralytics import YOLO

    from ultralytics_wb_ddp import WandbManager, add_wandb_callback
    from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer

    settings = {"data": str(data), "epochs": epochs, "imgsz": 64, "batch": BATCH, "workers": 0, "device": "0,1"}
    cfg = {"wandb": {"project": PROJECT, "mode": "online" if online else "offline", "dir": str(directory)}}
    cfg["wandb"]["on_error"] = "raise"  # an online run that fails must end with its reason
    with WandbManager(cfg, job_name="demo") as manager:
        manager.save_config({**cfg, "train": settings})
        manager.save_training_artifacts(data)
        manager.run.log({"dataset/images": images, "dataset/classes": CLASSES})
        model = YOLO("yolo11n.yaml")
        add_wandb_callback(model)
        model.add_callback("teardown", partial(_record_rank, directory))
        rows_before = get_next_step(manager.run)
        manager.prepare_for_training()

        with _progress(directory / "train" / "results.csv", epochs, shown=not verbose):
            model.train(trainer=CpuDDPTrainer, project=str(directory), name="train", exist_ok=True, **settings)
        manager.resume_after_training()
        rows_after = get_next_step(manager.run)

        click.echo("4/4  logging the final model")
        best = directory / "train" / "weights" / "best.pt"
        manager.save_training_artifacts(best, name="final_model", type="model")
        manager.run.log({"final_model/bytes": best.stat().st_size})
        url = manager.wandb_url
    import wandb

    wandb.teardown()  # finish() does not wait for the file to be written
    files = [file for file in find_run_files(directory) if file not in previous]
    _print_summary(directory, [read_run(file) for file in files], rows_before, rows_after, url)


def _set_environment(*, verbose: bool) -> None:
    """Set environment variables, before torch, Ultralytics and wandb are imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes may share two cores
    os.environ.setdefault("WANDB_CONSOLE", "off" if not verbose else "redirect")
    if not verbose:
        os.environ.setdefault("YOLO_VERBOSE", "False")
        os.environ.setdefault("WANDB_SILENT", "true")


@contextmanager
def _progress(results: Path, epochs: int, *, shown: bool) -> Iterator[None]:
    """Show the number of epochs in ``results.csv`` while other processes train."""
    label = f"3/4  training YOLO11n in {PROCESSES} processes"
    if not shown:
        click.echo(label)
        yield
        return
    results.unlink(missing_ok=True)
    stop = threading.Event()
    with click.progressbar(length=epochs, label=label, show_eta=False, item_show_func=_epoch_text) as bar:

        def follow() -> None:
            while not stop.wait(0.2):
                trained = max(0, len(results.read_text(encoding="utf-8").splitlines()) - 1) if results.exists() else 0
                bar.update(trained - bar.pos, trained)

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        try:
            yield
            bar.update(epochs - bar.pos, epochs)
        finally:
            stop.set()
            thread.join()


def _epoch_text(trained: int | None) -> str:
    return "starting" if not trained else f"epoch {trained}"


def _record_rank(directory: Path, trainer: Any) -> None:
    """Write this rank's pid, and whether it imported wandb, to ``rank-<n>.json`` at the end of its training."""
    del trainer
    rank_info = {"pid": os.getpid(), "wandb": "wandb" in sys.modules}
    (directory / f"rank-{os.environ['RANK']}.json").write_text(json.dumps(rank_info), encoding="utf-8")


def _print_summary(
    directory: Path, runs: list[RecordedRun], rows_before: int, rows_after: int, url: str | None
) -> None:
    run = runs[-1]
    history = [row for part in runs for row in part.history]
    ranks = [json.loads((directory / f"rank-{rank}.json").read_text(encoding="utf-8")) for rank in range(PROCESSES)]
    images = sum(1 for row in history for value in row.values() if _is_image(value))
    trained = [row["epoch"] for row in history if "epoch" in row]
    curves = sum(len(part.charts) for part in runs)
    first_rank, second_rank = (f"rank {rank} (pid {rank_info['pid']})" for rank, rank_info in enumerate(ranks))
    lines = [
        ("launcher, before", _row_range(0, rows_before), "config file, training inputs"),
        (
            first_rank,
            _row_range(rows_before, rows_after),
            f"epochs {min(trained)} to {max(trained)}, {images} images, {curves} curves, best.pt",
        ),
        (second_rank, "none", "imported wandb" if ranks[1]["wandb"] else "never imported wandb"),
        ("launcher, after", _row_range(rows_after, len(history)), "final model"),
    ]
    ids = {part.id for part in runs}
    click.echo()
    name = runs[0].name  # the file of a resumed session does not repeat the name
    outcome = f"{run.state} with exit code {run.exit_code}"
    click.secho(f"{len(ids)} run, {outcome}: {name} ({run.id})", bold=True)
    widths = [max(len(line[column]) for line in (*lines, _HEADER)) for column in range(2)]
    for writer, rows, content in (_HEADER, *lines):
        click.echo(f"  {writer:<{widths[0]}}  {rows:<{widths[1]}}  {content}")
    wandb, our_command = (
        name if shutil.which(name) else relative_path(Path(sys.executable).with_name(name))
        for name in ("wandb", "ultralytics-wb-ddp")
    )
    folders = [relative_path(part.path.parent) for part in runs]
    click.echo()
    click.echo(f"  folder   {' '.join(folders)}")
    if _is_latest(run.path.parent):  # the link is short: with the folder's name the line would wrap
        folders[-1] = relative_path(run.path.parent.with_name(LATEST))
    click.echo(f"  see it   {wandb} leet {folders[-1]}")
    click.echo(f"  online   {url}" if url else f"  send it  {our_command} sync {' '.join(folders)}")


def _is_latest(folder: Path) -> bool:
    return folder.with_name(LATEST).resolve() == folder.resolve()


def _row_range(start: int, stop: int) -> str:
    return f"{start}" if stop - start == 1 else f"{start} to {stop - 1}"


def _is_image(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("_type", "")).startswith("image")
