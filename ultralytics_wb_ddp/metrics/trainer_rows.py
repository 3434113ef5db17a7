"""Build the rows of batches and epochs from a trainer."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    Guard = Callable[[str], AbstractContextManager[Any]]


SPEED = "model/speed_PyTorch(ms)"  # milliseconds of an inference in the validation


def train_row(trainer: Any, loss_names: Sequence[str] = ()) -> dict[str, float]:
    """Return ``train/*`` losses and ``lr/*`` learning rates of a trained epoch.

    Before 8.3.218 only the trainer of rank 0 has names of the losses; ``loss_names`` are for the others.
    """
    losses = trainer.label_loss_items(trainer.tloss, prefix="train")
    if loss_names and not isinstance(trainer.tloss, dict) and len(losses) < len(loss_names):
        losses = {f"train/{name}": round(float(loss), 5) for name, loss in zip(loss_names, trainer.tloss)}
    return {**losses, **trainer.lr}


def batch_row(trainer: Any, batch: int) -> Callable[[], dict[str, float]]:
    """Return a function that builds the row of the last trained batch.

    The row holds ``batch/*`` losses of this rank's images and ``batch/lr/*`` learning rates. To read the losses is to
    wait for the device, so the function may be called later and in another thread. It reads all losses in one transfer.
    The number of the batch counts from 1 over all epochs.
    """
    losses, rates = trainer.loss_items, [group["lr"] for group in trainer.optimizer.param_groups]

    def build_row() -> dict[str, float]:
        import torch

        if isinstance(losses, dict):  # by name in newer releases, one tensor in older ones
            parts = torch.stack([part.detach() for part in losses.values()]).tolist()
            named = trainer.label_loss_items(dict(zip(losses, parts)), prefix="batch")
        else:
            named = trainer.label_loss_items(losses.detach().cpu(), prefix="batch")
        return {**named, **{f"batch/lr/pg{number}": float(rate) for number, rate in enumerate(rates)}, "batch": batch}

    return build_row


def model_profile_row(trainer: Any) -> dict[str, Any]:
    """Return ``model/*``: parameters, operations and speed of the model.

    Operations are counted on a copy of the model. The speed is that of the last validation, in milliseconds.
    """
    from ultralytics.utils.torch_utils import model_info_for_loggers

    return dict(model_info_for_loggers(trainer))


def described_row(trainer: Any, model: Future[dict[str, Any]] | None, *, is_measured: bool) -> dict[str, Any]:
    """Return ``model/*`` for the first epoch.

    ``model`` is the future of a :func:`model_profile_row` that began before the validation; None to call it now.
    Without a validation the row has no speed.
    """
    row = model.result() if model else model_profile_row(trainer)
    if SPEED not in row:
        return row
    return {**row, **speed_row(trainer)} if is_measured else {key: row[key] for key in row if key != SPEED}


def speed_row(trainer: Any) -> dict[str, float]:
    """Return the last validation's inference time for an image, in milliseconds."""
    return {SPEED: round(trainer.validator.speed["inference"], 3)}


def changed_plots(
    plots: Mapping[Path, Mapping[str, Any]], seen: dict[Path, float], guard: Guard = nullcontext
) -> dict[str, Any]:
    """Return new and changed plots as W&B images, by their file's stem.

    Args:
        plots: ``trainer.plots`` or ``validator.plots``: time of drawing, in seconds since 1970, by file.
        seen: Times of the plots that were returned before; updated. A plot that cannot be read is tried again later.
        guard: Context manager by a plot's name that keeps its errors from the other plots.
    """
    import wandb

    images = {}
    for file, details in list(plots.items()):  # a thread of Ultralytics may add plots meanwhile
        with guard(f"plot {file}"):
            drawn = details["timestamp"]
            if seen.get(file) != drawn:
                images[Path(file).stem] = wandb.Image(str(file))
                seen[file] = drawn
    return images
