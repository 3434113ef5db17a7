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
    from collections.abc import Callable, Iterable, Mapping


STORE_TIMEOUT = timedelta(seconds=5)  # that the store has for an answer, before it is given up
FIRST_POLL_INTERVAL, MAX_POLL_INTERVAL = (
    0.002,
    0.1,
)  # seconds between two looks at something that is being waited for: they get longer


class PendingRead:
    """What somebody has asked the store for.

    Args:
        keys: What is looked for.
        deadline: Until when it is looked for again, by ``time.monotonic``, if it is not all there.
    """

    def __init__(self, keys: Iterable[str], deadline: float) -> None:
        self._keys = list(keys)
        self._found: dict[str, Any] = {}
        self._deadline = deadline
        self._pause = FIRST_POLL_INTERVAL
        self._is_over = threading.Event()

    @property
    def is_answered(self) -> bool:
        """Whether all of it was there."""
        return len(self._found) == len(self._keys)

    def result(self, timeout: float) -> dict[str, Any]:
        """Return what was there, after so many seconds at most; then nobody looks for the rest any more."""
        self._is_over.wait(timeout)
        self._is_over.set()
        return dict(list(self._found.items()))

    def cancel(self) -> None:
        """Have it answered with what is known."""
        self._is_over.set()

    def poll(self, store: Any, space: str) -> bool:
        """Look once; returns whether it is to be asked again."""
        if self._is_over.is_set():
            return False
        missing = [key for key in self._keys if key not in self._found]
        places = [f"{space}/{key}" for key in missing]
        if store.check(places):  # all at once, as a rule
            self._found.update(zip(missing, map(json.loads, store.multi_get(places))))
        elif len(places) > 1:
            for key, place in zip(missing, places):
                if store.check([place]):
                    self._found[key] = json.loads(store.get(place))
        if self.is_answered or time.monotonic() >= self._deadline:
            self._is_over.set()
            return False
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, MAX_POLL_INTERVAL)
        return True


class RankStore:
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
        self._questions: list[PendingRead] = []
        if not self._is_lost:
            threading.Thread(target=self._work, name="wandb-ddp-exchange", daemon=True).start()

    def write(self, key: str, value: Any) -> None:
        """Put something there, in the background.

        Args:
            key: Its name.
            value: What JSON can hold.
        """
        self.write_many({key: value})

    def write_many(self, values: Mapping[str, Any], patience: float = 0.0) -> None:
        """Put several things there at once, in the background.

        Args:
            values: What JSON can hold, by name.
            patience: Seconds to wait until they are there: where this thread goes on with what keeps Python to itself,
                such as a collection of garbage, they would be late.
        """
        places, texts = [f"{self._space}/{key}" for key in values], [json.dumps(value) for value in values.values()]
        if self._is_lost or not places:
            return
        done = threading.Event()

        def put(store: Any) -> None:
            store.multi_set(places, texts)
            done.set()

        self._jobs.put(put)
        done.wait(patience)

    def read_async(self, keys: Iterable[str], timeout: float = 0.0) -> PendingRead:
        """Look in the background for what is there, again and again until it is all there.

        Args:
            keys: What is looked for.
            timeout: Seconds after which nobody looks again.
        """
        question = PendingRead(keys, time.monotonic() + timeout)
        self._questions.append(question)
        if self._is_lost or question.is_answered:
            question.cancel()

        def find(store: Any) -> None:
            if question.poll(store, self._space):
                self._jobs.put(find)  # others have their turn first
            else:
                self._questions.remove(question)

        self._jobs.put(find)
        return question

    def read(self, keys: Iterable[str], patience: float = MAX_POLL_INTERVAL) -> dict[str, Any]:
        """Return what is there now.

        Args:
            keys: What is looked for.
            patience: Seconds that the store, not another rank, may take to answer.
        """
        return self.read_async(keys).result(patience)

    def wait(self, keys: Iterable[str], timeout: float) -> dict[str, Any]:
        """Return what is there once all of it is, or after so many seconds."""
        return self.read_async(keys, timeout).result(timeout)

    def close(self) -> None:
        """Let go of the store, once everything is put there; waits no longer than the store may take to answer."""
        done = threading.Event()
        self._jobs.put(lambda _: done.set())
        self._jobs.put(None)
        if not self._is_lost:
            done.wait(STORE_TIMEOUT.total_seconds())

    def _work(self) -> None:
        """Do what is asked for, until the store fails: it went with the launch that it belongs to."""
        import torch.distributed as dist

        with contextlib.suppress(Exception):
            store = dist.TCPStore(
                os.environ["MASTER_ADDR"],
                int(os.environ["MASTER_PORT"]),
                is_master=False,
                timeout=STORE_TIMEOUT,
                wait_for_workers=False,
            )
            while job := self._jobs.get():
                job(store)
        self._is_lost = True
        for question in list(self._questions):
            question.cancel()
