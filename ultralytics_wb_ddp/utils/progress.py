"""Show the progress of work that may take longer than two seconds."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sized
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from ultralytics_wb_ddp.utils.logging import is_interactive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager


Item = TypeVar("Item")


def progress_bar(length: int, label: str, *, visible: bool = True) -> AbstractContextManager[Any]:
    """Return a context manager that shows a progress bar on stderr.

    It yields a bar whose ``update(n)`` adds n steps, or None if the bar is not visible or stderr is no terminal.
    """
    if not (visible and is_interactive()):
        return nullcontext()
    import click

    progress: AbstractContextManager[Any] = click.progressbar(length=length, label=label, file=sys.stderr)
    return progress


def track(items: Iterable[Item], label: str, *, length: int | None = None, visible: bool = True) -> Iterator[Item]:
    """Yield items and show on a progress bar how many are finished. The length may be approximate."""
    number = len(items) if length is None and isinstance(items, Sized) else length or 0
    with progress_bar(number, label, visible=visible and number > 0) as progress:
        for item in items:
            yield item
            if progress:
                progress.update(1)


@contextmanager
def status(text: str, *, visible: bool = True) -> Iterator[None]:
    """Show a text on a terminal during the work."""
    if not (visible and is_interactive()):
        yield
        return
    width = shutil.get_terminal_size().columns - len(" ...") - 1
    sys.stderr.write(f"{text[:width]} ...")
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
