"""Exchange values between ranks over their rendezvous store, without collectives.

A collective would hang if one rank is missing. Torchrun or rank 0 keeps the store. Each rank has a connection of its
own and a thread that uses it: a store that does not answer delays no training. Values are pickled, as PyTorch's own
collectives for objects do it.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.utils.threads import BackgroundQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


STORE_TIMEOUT = timedelta(seconds=5)  # for an answer; after it, the store counts as lost
FIRST_POLL_INTERVAL, MAX_POLL_INTERVAL = (
    0.002,
    0.1,
)  # seconds between two polls of the store; the interval doubles each time


_hosted: list[Any] = []  # stores that this process keeps to its end: another rank may come later


class PendingRead:
    """A read of keys that may not be in the store yet.

    Missing keys are polled until a deadline by ``time.monotonic``.
    """

    def __init__(self, keys: Iterable[str], deadline: float) -> None:
        self._keys = list(keys)
        self._found: dict[str, Any] = {}
        self._deadline = deadline
        self._pause = FIRST_POLL_INTERVAL
        self._is_over = threading.Event()

    @property
    def is_answered(self) -> bool:
        """Whether all keys were read."""
        return len(self._found) == len(self._keys)

    def result(self, timeout: float) -> dict[str, Any]:
        """Return the values read so far by key, and stop polling. Missing keys get ``timeout`` seconds."""
        self._is_over.wait(timeout)
        self._is_over.set()
        return dict(list(self._found.items()))

    def cancel(self) -> None:
        """Stop polling; :meth:`result` returns the values read so far."""
        self._is_over.set()

    def poll(self, store: Any, space: str) -> bool:
        """Read missing keys once, and return whether to poll again."""
        if self._is_over.is_set():
            return False
        missing = [key for key in self._keys if key not in self._found]
        paths = [f"{space}/{key}" for key in missing]
        if store.check(paths):  # usually all at once
            self._found.update(zip(missing, map(pickle.loads, store.multi_get(paths))))
        elif len(paths) > 1:
            for key, path in zip(missing, paths):
                if store.check([path]):
                    self._found[key] = pickle.loads(store.get(path))  # noqa: S301  # of this launch
        if self.is_answered or time.monotonic() >= self._deadline:
            self._is_over.set()
            return False
        time.sleep(self._pause)
        self._pause = min(2 * self._pause, MAX_POLL_INTERVAL)
        return True


class RankStore:
    """A key-value store that all ranks of a launch share.

    Args:
        name: Name of the values' owner, such as a training. All ranks give it the same name, apart from others.
        connect_timeout: Seconds that the connection may take, in the background.
        hosts: Whether this process keeps the store, unless torchrun does. PyTorch's process group uses the same store.
    """

    def __init__(
        self, name: str, *, connect_timeout: float = STORE_TIMEOUT.total_seconds(), hosts: bool = False
    ) -> None:
        self._connect_timeout, self._hosts = timedelta(seconds=connect_timeout), hosts
        restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun keeps its store
        self._space = f"ultralytics_wb_ddp/{restarts}/{name}"
        self._is_lost = not has_address(os.environ)
        self._queue = BackgroundQueue("wandb-ddp-store")
        self._store: Any = None
        self._pending_reads: list[PendingRead] = []
        self._submit(lambda _: None)

    def write(self, key: str, value: Any) -> None:
        """Write a value that pickle can hold, in the background."""
        self.write_many({key: value})

    def write_many(self, values: Mapping[str, Any], patience: float = 0.0) -> None:
        """Write several values at once in the background.

        ``patience`` is the time in seconds to wait until they are written. Without a wait they would be late if this
        thread then holds the interpreter, such as in a garbage collection.
        """
        if self._is_lost or not values:
            return
        paths, pickled = [f"{self._space}/{key}" for key in values], [pickle.dumps(value) for value in values.values()]
        is_written = threading.Event()

        def put(store: Any) -> None:
            store.multi_set(paths, pickled)
            is_written.set()

        self._submit(put)
        is_written.wait(patience)

    def read_async(
        self, keys: Iterable[str], timeout: float = 0.0, then: Callable[[], None] | None = None
    ) -> PendingRead:
        """Read keys in the background and poll until all of them exist, for ``timeout`` seconds at most.

        ``then`` is called from the store's thread once all keys were read.
        """
        pending_read = PendingRead(keys, time.monotonic() + timeout)
        self._pending_reads.append(pending_read)
        if self._is_lost or pending_read.is_answered:
            pending_read.cancel()

        def find(store: Any) -> None:
            if pending_read.poll(store, self._space):
                self._submit(find)  # other jobs run first
                return
            self._pending_reads.remove(pending_read)
            if then and pending_read.is_answered:
                then()

        self._submit(find)
        return pending_read

    def call_when(self, key: str, action: Callable[[], None]) -> None:
        """Call a function from the store's thread once a key exists. It is not called after :meth:`close`."""
        self.read_async([key], float("inf"), action)

    def read(self, keys: Iterable[str], patience: float = MAX_POLL_INTERVAL) -> dict[str, Any]:
        """Return the values that exist now, by key.

        ``patience`` is the time in seconds that the store may take to answer. Other ranks are not waited for.
        """
        return self.read_async(keys).result(patience)

    def wait(self, keys: Iterable[str], timeout: float) -> dict[str, Any]:
        """Return the values by key once all exist, or after ``timeout`` seconds."""
        return self.read_async(keys, timeout).result(timeout)

    def close(self) -> None:
        """Disconnect after the last write; wait :data:`STORE_TIMEOUT` at most."""
        if not self._is_lost:
            self._queue.drain(STORE_TIMEOUT.total_seconds())
        self._submit(lambda _: self._lose())
        self._queue.close()

    def _submit(self, job: Callable[[Any], None]) -> None:
        """Run a job with the connected store in the background, unless the store is lost: it ends with its launch."""

        def run() -> None:
            if self._is_lost:
                return
            try:
                self._store = self._store or self._connect()
                job(self._store)
            except Exception:  # noqa: BLE001  # PyTorch raises several classes
                self._lose()

        self._queue.submit(run)

    def _connect(self) -> Any:
        import torch.distributed as dist

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        if self._hosts and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            with suppress(Exception):  # another process keeps it
                store = dist.TCPStore(
                    address, port, is_master=True, timeout=STORE_TIMEOUT, wait_for_workers=False, multi_tenant=True
                )
                _hosted.append(store)
                return store
        store = dist.TCPStore(address, port, is_master=False, timeout=self._connect_timeout, wait_for_workers=False)
        store.set_timeout(STORE_TIMEOUT)
        return store

    def _lose(self) -> None:
        self._is_lost, self._store = True, None
        for pending_read in list(self._pending_reads):
            pending_read.cancel()


def has_address(env: Mapping[str, str]) -> bool:
    """Return whether the environment names the address of the launch's store."""
    return bool(env.get("MASTER_ADDR") and env.get("MASTER_PORT"))
