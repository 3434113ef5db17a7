"""Errors whose message is all that their reader needs, and how messages are written.

A message says, in this order, what it is about, what is the case, and what to do: ``wandb.mode='onlin' is unknown;
choose one of online, offline, disabled``.

- A setting stands as its user writes it, with its value as Python does: ``train.data='coco88.yaml'``, ``--ttl=0``.
- ``: `` leads from the value to the cause, ``; `` to the remedy, which is an imperative or a command to be copied.
- It begins with a small letter and has no full stop at its end; what others have said stands as they said it.
- It is one line, however long: terminals wrap it, ``grep`` finds it, and a command in it can be copied.
- Names and values are in single quotes; a secret is never shown.
"""

from __future__ import annotations

from subprocess import CalledProcessError

from ultralytics_wb_ddp.utils.logging import format_exception


def exit_code_of(error: BaseException | None) -> int:
    """Return the exit code that a run deserves when its work ends with this exception; 0 for None.

    ``SystemExit`` counts with its own code, which wandb itself would record as a success, and Ctrl-C with 255, as
    wandb has it.
    """
    if error is None:
        return 0
    if isinstance(error, KeyboardInterrupt):
        return 255
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    return 1


class UserError(Exception):
    """An error whose message names the value, the cause and the remedy: a command shows it without a stack trace."""


def user_message(error: BaseException) -> str | None:
    """Return what the user can mend without a stack trace; None where only that tells what went wrong.

    Args:
        error: What has ended a command. What it was raised from is looked at, too.
    """
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, CalledProcessError):
            return f"the training ended with exit code {at.returncode}; what its processes said stands above"
        if isinstance(at, (UserError, NotImplementedError)):  # the second one is Ultralytics'
            return str(at)
        if _is_of_wandb(at):
            return f"W&B cannot be used ({format_exception(at)}); 'ultralytics-wb-ddp doctor' looks for the reason"
        if isinstance(at, ValueError) and str(at).startswith("Invalid CUDA"):  # Ultralytics', with lines of figures
            return f"{str(at).splitlines()[0].strip()}; name GPUs that are there, counted from 0, or device=cpu"
        if isinstance(at, OSError):
            return f"{at.filename}: {at.strerror}" if at.filename and at is error else format_exception(error)
        at = at.__cause__
    return None


def _is_of_wandb(error: BaseException) -> bool:
    """Return whether W&B's client has raised an error, without importing the client."""
    return any(kind.__module__.partition(".")[0] == "wandb" for kind in type(error).__mro__)
