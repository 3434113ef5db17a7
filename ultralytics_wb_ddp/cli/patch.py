"""``ultralytics-wb-ddp patch``: the stock callback patched on disk."""

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
    """Have Ultralytics' own W&B callback continue a run.

    WANDB_RUN_ID and WANDB_PROJECT name the run. For trainings that no callback gets to: the 'yolo' command,
    model.tune(), scripts that cannot be changed. One file of the Ultralytics that this Python finds is changed. The
    exit code is 0 if what is asked for is done, or was already, and 1 if it cannot be done, which a message explains;
    then nothing is changed.
    """


@patch.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, as_json: bool) -> None:
    """Say whether the stock callback is patched.

    The exit code is 1 if it can neither be patched nor put back.
    """
    from ultralytics_wb_ddp.tools.stock_callback_patch import PatchError, patch_status

    found, trouble = None, None
    try:
        found = patch_status()
        trouble = found.problem
    except PatchError as error:
        trouble = str(error)
    if as_json:
        facts = {
            "release": found and found.release,
            "file": found and str(found.file),
            "state": found.state if found else "missing",
            "era": found and found.era,
            "diff": found.diff.name if found and found.diff else None,
            "trouble": trouble,
        }
        click.echo(json.dumps(facts, indent=2))
    elif found and not trouble:
        click.echo(_describe(found))
    if trouble and not as_json:
        raise click.ClickException(trouble)
    raise SystemExit(bool(trouble))


@patch.command()
def apply() -> None:
    """Patch the stock callback."""
    from ultralytics_wb_ddp.tools import stock_callback_patch

    _change(stock_callback_patch.apply, done="patched now", kept="was patched already")


@patch.command()
def revert() -> None:
    """Put the original stock callback back, byte for byte."""
    from ultralytics_wb_ddp.tools import stock_callback_patch

    _change(stock_callback_patch.revert, done="put back as it was released", kept="was not patched")


def _change(change: Callable[[Status], bool], *, done: str, kept: str) -> None:
    from ultralytics_wb_ddp.tools.stock_callback_patch import patch_status

    found = patch_status()
    text = done if change(found) else kept
    click.echo(f"{text} (Ultralytics {found.release}): {found.file}")


def _describe(found: Status) -> str:
    state = "patched" if found.state == "patched" else "not patched"
    return f"{state} (Ultralytics {found.release}, whose file is that of {found.era}): {found.file}"
