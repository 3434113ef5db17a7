"""``ultralytics-wb-ddp patch``: patch the stock callback on disk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from ultralytics_wb_ddp.cli.click_types import SuggestingGroup

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultralytics_wb_ddp.tools.stock_callback_patch import Status


@click.group(cls=SuggestingGroup)
def patch() -> None:
    """Patch Ultralytics' own W&B callback so that it continues a run.

    WANDB_RUN_ID and WANDB_PROJECT name the run. Use it for trainings without a callback of this package: the 'yolo'
    command, model.tune(), scripts that cannot be changed. One file of the installed Ultralytics is changed. The exit
    code is 0 if the file is in the requested state, and 1 if that is impossible. Then a message gives the reason, and
    nothing is changed.
    """


@patch.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, as_json: bool) -> None:
    """Report whether the stock callback is patched.

    The exit code is 1 if the file can be neither patched nor restored.
    """
    from ultralytics_wb_ddp.tools.stock_callback_patch import PatchError, patch_status

    current, problem = None, None
    try:
        current = patch_status()
        problem = current.problem
    except PatchError as error:
        problem = str(error)
    if as_json:
        content = {
            "release": current and current.release,
            "file": current and str(current.file),
            "state": current.state if current else "missing",
            "era": current and current.era,
            "diff": current.diff.name if current and current.diff else None,
            "trouble": problem,
        }
        click.echo(json.dumps(content, indent=2))
    elif current and not problem:
        click.echo(_describe(current))
    if problem and not as_json:
        raise click.ClickException(problem)
    raise SystemExit(bool(problem))


@patch.command()
def apply() -> None:
    """Patch the stock callback."""
    from ultralytics_wb_ddp.tools import stock_callback_patch

    _change(stock_callback_patch.apply, changed="patched now", unchanged="was patched already")


@patch.command()
def revert() -> None:
    """Restore the original stock callback, byte for byte."""
    from ultralytics_wb_ddp.tools import stock_callback_patch

    _change(stock_callback_patch.revert, changed="put back as it was released", unchanged="was not patched")


def _change(change: Callable[[Status], bool], *, changed: str, unchanged: str) -> None:
    from ultralytics_wb_ddp.tools.stock_callback_patch import patch_status

    current = patch_status()
    text = changed if change(current) else unchanged
    click.echo(f"{text} (Ultralytics {current.release}): {current.file}")


def _describe(current: Status) -> str:
    state = "patched" if current.state == "patched" else "not patched"
    return f"{state} (Ultralytics {current.release}, whose file is that of {current.era}): {current.file}"
