"""Progress on a terminal, of what may take longer than two seconds."""

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
    """Return a progress bar on stderr, whose ``update(n)`` moves it; None in a log, in a pipe and where nobody asked.

    Args:
        length: Number of steps until it is complete.
        label: What goes on, in a few words.
        visible: Whether it is asked for.
    """
    if not (visible and is_interactive()):
        return nullcontext()
    import click

    made: AbstractContextManager[Any] = click.progressbar(length=length, label=label, file=sys.stderr)
    return made


def track(items: Iterable[Item], label: str, *, length: int | None = None, visible: bool = True) -> Iterator[Item]:
    """Yield items while a progress bar shows how many have been dealt with.

    Args:
        items: The items.
        label: What goes on, in a few words.
        length: How many there are, about; None asks the items.
        visible: Whether it is asked for.
    """
    number = len(items) if length is None and isinstance(items, Sized) else length or 0
    with progress_bar(number, label, visible=visible and number > 0) as progress:
        for item in items:
            yield item
            if progress:
                progress.update(1)


@contextmanager
def status(text: str, *, visible: bool = True) -> Iterator[None]:
    """Show on stderr what goes on while it does, where that is a terminal; it is wiped away then.

    Args:
        text: What goes on, in a few words.
        visible: Whether it is asked for.
    """
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
