"""Define errors for users and the style of their messages.

A message names, in this order, the value, the cause and the remedy: ``wandb.mode='onlin' is unknown; choose one of
online, offline, disabled``.

- A setting is written as its user writes it, its value as Python does: ``train.data='coco88.yaml'``, ``--ttl=0``.
- ``: `` separates the value from the cause, ``; `` the cause from the remedy. The remedy is an imperative or a command
  to copy.
- A message begins with a small letter and has no full stop at its end. Quoted messages are not changed.
- A message is one line of any length: terminals wrap it, ``grep`` finds it, and a command in it can be copied.
- Names and values are in single quotes; a secret is never shown.
"""

from __future__ import annotations

from contextlib import contextmanager
from subprocess import CalledProcessError
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.utils.logging import format_exception

if TYPE_CHECKING:
    from collections.abc import Iterator


EXIT_CODE_ATTRIBUTE = "ultralytics_wb_ddp_exit_code"  # of an exception that another process has caused


def exit_code_of(error: BaseException | None) -> int:
    """Return the exit code of a run that ends with an exception.

    It is 0 for None, 255 for Ctrl-C as in wandb, the code of a ``SystemExit``, which wandb itself records as a success,
    that of :func:`set_exit_code`, and 1 for any other exception.
    """
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 255
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return int(getattr(error, EXIT_CODE_ATTRIBUTE, 1))


def set_exit_code(error: BaseException, exit_code: int) -> None:
    """Set the exit code of an exception that another process has caused by its end.

    :func:`exit_code_of` returns it to the later handlers of the exception, such as the manager of the run.
    """
    setattr(error, EXIT_CODE_ATTRIBUTE, exit_code)


class UserError(Exception):
    """An error that a command shows without a stack trace.

    Its message names the value, the cause and the remedy.
    """


@contextmanager
def raise_as(error_class: type[UserError], problem: str, remedy: str) -> Iterator[None]:
    """Raise every exception of a block as an error of one class.

    The problem is the value and what is wrong with it; the message of the exception follows. A :class:`UserError` has
    its own remedy.
    """
    try:
        yield
    except UserError as error:
        msg = f"{problem}: {error}"
        raise error_class(msg) from error
    except Exception as error:
        msg = f"{problem}: {format_exception(error)}; {remedy}"
        raise error_class(msg) from error


def user_message(error: BaseException) -> str | None:
    """Return the message of an error, or of its causes, that the user can correct.

    It is None for an error that only its stack trace explains.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, CalledProcessError):
            return f"the training ended with exit code {cause.returncode}; the output of its processes is above"
        if isinstance(cause, (UserError, NotImplementedError)):  # Ultralytics raises NotImplementedError
            return str(cause)
        if _is_of_wandb(cause):
            return f"W&B cannot be used ({format_exception(cause)}); 'ultralytics-wb-ddp doctor' looks for the reason"
        if isinstance(cause, ValueError) and str(cause).startswith("Invalid CUDA"):  # from Ultralytics, of many lines
            return f"{str(cause).splitlines()[0].strip()}; name GPUs that are there, counted from 0, or device=cpu"
        if isinstance(cause, OSError):
            return (
                f"{cause.filename}: {cause.strerror}" if cause.filename and cause is error else format_exception(error)
            )
        cause = cause.__cause__
    return None


def _is_of_wandb(error: BaseException) -> bool:
    """Return whether W&B's client raised an error, without importing the client."""
    return any(kind.__module__.partition(".")[0] == "wandb" for kind in type(error).__mro__)
