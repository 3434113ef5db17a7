"""What the ranks of a training tell each other: over the store of their launch, and without ever waiting in step.

A collective would hang a training of which one rank is missing. The store, which torchrun or rank 0 keeps for the
rendezvous, is a place to put things and to look for them. Each rank has a connection of its own and a thread that uses
it, so that a store that does not answer holds up nobody.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Exchange"]

TIMEOUT = timedelta(seconds=5)  # that the store has for an answer, before it is given up
POLL = 0.1  # seconds between two looks at something that is being waited for


class Exchange:
    """A place that all ranks of a training see."""

    def __init__(self, name: str) -> None:
        """Open it.

        Args:
            name: What tells this training from others of the same launch; the same on all ranks.
        """
        restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun keeps its store
        self._space = f"ultralytics_wb_ddp/{restarts}/{name}"
        self._is_lost = "MASTER_ADDR" not in os.environ or "MASTER_PORT" not in os.environ
        self._jobs: queue.SimpleQueue[Callable[[Any], None] | None] = queue.SimpleQueue()
        if not self._is_lost:
            threading.Thread(target=self._work, name="wandb-ddp-exchange", daemon=True).start()

    def put(self, key: str, value: Any) -> None:
        """Put something there, in the background.

        Args:
            key: Its name.
            value: What JSON can hold.
        """
        text = json.dumps(value)
        self._jobs.put(lambda store: store.set(f"{self._space}/{key}", text))

    def look(self, keys: Iterable[str], patience: float = POLL) -> dict[str, Any]:
        """Return what is there now.

        Args:
            keys: What is looked for.
            patience: Seconds that the store, not another rank, may take to answer.
        """
        wanted, done = list(keys), threading.Event()
        found: dict[str, Any] = {}

        def find(store: Any) -> None:
            places = [f"{self._space}/{key}" for key in wanted]
            if store.check(places):  # all at once, as a rule
                found.update(zip(wanted, map(json.loads, store.multi_get(places))))
            else:
                for key, place in zip(wanted, places):
                    if store.check([place]):
                        found[key] = json.loads(store.get(place))
            done.set()

        if self._is_lost or not wanted:
            return {}
        self._jobs.put(find)
        done.wait(patience)
        return dict(list(found.items()))  # at once, or what there is if the store takes longer

    def wait(self, keys: Iterable[str], timeout: float) -> dict[str, Any]:
        """Return what is there once all of it is, or after so many seconds."""
        wanted = list(keys)
        deadline = time.monotonic() + timeout
        found = self.look(wanted, timeout)
        while len(found) < len(wanted) and time.monotonic() < deadline and not self._is_lost:
            time.sleep(POLL)
            found = self.look(wanted, max(POLL, deadline - time.monotonic()))
        return found

    def close(self) -> None:
        """Let go of the store, once everything is put there; waits no longer than the store may take to answer."""
        done = threading.Event()
        self._jobs.put(lambda _: done.set())
        self._jobs.put(None)
        if not self._is_lost:
            done.wait(TIMEOUT.total_seconds())

    def _work(self) -> None:
        """Do what is asked for, until the store fails: it went with the launch that it belongs to."""
        import torch.distributed as dist

        with contextlib.suppress(Exception):
            store = dist.TCPStore(
                os.environ["MASTER_ADDR"],
                int(os.environ["MASTER_PORT"]),
                is_master=False,
                timeout=TIMEOUT,
                wait_for_workers=False,
            )
            while job := self._jobs.get():
                job(store)
        self._is_lost = True
