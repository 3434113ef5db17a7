"""Runs of the user's own that are finished while an exception is on its way, as ``finally`` does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import wandb

from scenarios.common import TWO_PROCESSES, new_model, run_named
from ultralytics_wb_ddp import add_wandb_callback

NO_DATA = {**TWO_PROCESSES, "data": "nowhere.yaml"}


def finish_in_every_way() -> None:
    model = new_model()

    @contextlib.contextmanager
    def logged(name: str, **end: Any) -> Iterator[Any]:
        run = wandb.init(project="demo", id=name, reinit="create_new")
        assert wandb.run is not run
        add_wandb_callback(model, run=run)
        try:
            yield run
        finally:
            run.finish(**end)

    def fails(name: str, **end: Any) -> None:
        with contextlib.suppress(Exception), logged(name, **end):
            model.train(**NO_DATA)

    wandb.init(project="demo", id="other")
    fails("without-exit-code")
    fails("with-exit-code-0", exit_code=0)
    fails("with-its-own-exit-code", exit_code=7)

    with contextlib.suppress(SystemExit), logged("exited", exit_code=0):
        raise SystemExit(3)

    with logged("dealt-with", exit_code=0), contextlib.suppress(Exception):
        model.train(**NO_DATA)

    try:
        int("an earlier failure")
    except ValueError:
        with logged("after-another-failure", exit_code=0):
            pass

    wandb.finish()


if __name__ == "__main__":
    run_named(globals())
