"""Make the rows of batches and epochs from a trainer."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    Guard = Callable[[str], AbstractContextManager[Any]]


SPEED = "model/speed_PyTorch(ms)"  # of an inference in the validation


def train_row(trainer: Any, loss_names: Sequence[str] = ()) -> dict[str, float]:
    """Return ``train/*`` losses and ``lr/*`` learning rates at the end of a training epoch.

    Args:
        trainer: The trainer.
        loss_names: Names of the losses where the trainer does not know them: before 8.3.218 rank 0 alone does.
    """
    losses = trainer.label_loss_items(trainer.tloss, prefix="train")
    if loss_names and not isinstance(trainer.tloss, dict) and len(losses) < len(loss_names):
        losses = {f"train/{name}": round(float(loss), 5) for name, loss in zip(loss_names, trainer.tloss)}
    return {**losses, **trainer.lr}


def batch_row(trainer: Any, batch: int) -> Callable[[], dict[str, float]]:
    """Return what makes the row of the batch that was trained last: ``batch/*`` losses and ``batch/lr/*`` rates.

    The losses are those of this rank's images. To read them is to wait for the device, which can be done later, and
    elsewhere than in the training's thread; they leave it in one transfer.

    Args:
        trainer: The trainer.
        batch: Number of the batch, counted from 1 over all epochs.
    """
    losses, rates = trainer.loss_items, [group["lr"] for group in trainer.optimizer.param_groups]

    def make() -> dict[str, float]:
        import torch

        if isinstance(losses, dict):  # by name in newer releases, before that one tensor
            parts = torch.stack([part.detach() for part in losses.values()]).tolist()
            named = trainer.label_loss_items(dict(zip(losses, parts)), prefix="batch")
        else:
            named = trainer.label_loss_items(losses.detach().cpu(), prefix="batch")
        return {**named, **{f"batch/lr/pg{number}": float(rate) for number, rate in enumerate(rates)}, "batch": batch}

    return make


def model_profile_row(trainer: Any) -> dict[str, Any]:
    """Return ``model/*``: parameters, operations of a copy of the model, and the speed of the last validation."""
    from ultralytics.utils.torch_utils import model_info_for_loggers

    return dict(model_info_for_loggers(trainer))


def described_row(trainer: Any, model: Future[dict[str, Any]] | None, *, is_measured: bool) -> dict[str, Any]:
    """Return ``model/*`` for the first epoch, without a speed where nothing was validated.

    Args:
        trainer: The trainer.
        model: What :func:`model_row` has returned, or is about to return, if that began before the validation.
        is_measured: Whether the epoch was validated.
    """
    row = model.result() if model else model_profile_row(trainer)
    if SPEED not in row:
        return row
    return {**row, **speed_row(trainer)} if is_measured else {key: row[key] for key in row if key != SPEED}


def speed_row(trainer: Any) -> dict[str, float]:
    """Return the time that the last validation has taken for an image, in milliseconds."""
    return {SPEED: round(trainer.validator.speed["inference"], 3)}


def changed_plots(
    plots: Mapping[Path, Mapping[str, Any]], seen: dict[Path, float], guard: Guard = nullcontext
) -> dict[str, Any]:
    """Return the plots that are new or changed as images, by the name of their file.

    Args:
        plots: ``trainer.plots`` or ``validator.plots``: time of drawing, in seconds since 1970, by file.
        seen: Times of the plots that were shown before; updated. One that cannot be read is tried again.
        guard: What keeps the trouble with one plot, by its name, away from the others.
    """
    import wandb

    images = {}
    for file, details in list(plots.items()):  # a thread of Ultralytics may add to it meanwhile
        with guard(f"plot {file}"):
            drawn = details["timestamp"]
            if seen.get(file) != drawn:
                images[Path(file).stem] = wandb.Image(str(file))
                seen[file] = drawn
    return images
