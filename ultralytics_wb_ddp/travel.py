"""What of a run travels to the workers with the callback, and what is got ready where it arrives."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.distributed.processes import is_worker
from ultralytics_wb_ddp.distributed.signals import on_termination
from ultralytics_wb_ddp.runs import stop_button
from ultralytics_wb_ddp.runs.misuse_warnings import callbacks_of
from ultralytics_wb_ddp.runs.resolution import which_ranks
from ultralytics_wb_ddp.runs.service_process import Sidecar
from ultralytics_wb_ddp.utils.threads import import_early

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultralytics_wb_ddp.config.options import RunOptions
    from ultralytics_wb_ddp.runs.handoff import Handoff

__all__ = ["prepare", "seal"]


def seal(run: Any, handoff: Handoff | None, check: Callable[[Any], None]) -> Handoff | None:
    """Return the record by which a worker finds the run of this process.

    Args:
        run: The run that was given to the callback, or None.
        handoff: The record that the callback has brought here itself, or None.
        check: Refuses what cannot be, given the run that is open here or None.
    """
    from ultralytics_wb_ddp.runs.open_runs import find_handoff, local_run, open_handoff, opened_by_us, use_users_run
    from ultralytics_wb_ddp.runs.preemption import preempt
    from ultralytics_wb_ddp.wandb_client.internals import flush

    if not is_worker():
        on_termination(preempt)
        stop_button.has_trained.set()
    handoff = find_handoff(run, handoff)
    run = local_run(run, handoff)
    check(run)
    callbacks_of.update(each for each in (run and run.id, handoff and handoff.run_id) if each)
    if run is None:
        return handoff
    if not opened_by_us(run):
        use_users_run(run)
        # Disabled, or its wandb-core is gone: the launch is not to fail for it.
        with contextlib.suppress(Exception):
            flush(run, flushes_itself=False)
    travelling = open_handoff(run)
    return replace(travelling, options=handoff.options) if handoff else travelling


def prepare(handoff: Handoff | None, options: RunOptions) -> None:
    """Have ready what it takes to open a run, while Ultralytics loads what it takes to train.

    Args:
        handoff: The run of the launcher, if there is one.
        options: What the user has asked for.
    """
    import_early("wandb", "ultralytics_wb_ddp.runs.resolution")
    run_mode, _ = which_ranks(options, handoff, os.environ)
    attaches = handoff is not None and handoff.state == "open" and run_mode == "auto"
    if not attaches and "disabled" not in (options.mode, os.environ.get("WANDB_MODE")):
        Sidecar.start_early(options.finish_timeout)
