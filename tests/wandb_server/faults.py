"""What may go wrong between a client and its server, on request of a test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

GRAPHQL = "GraphQL"
TRANSPORT = {"FileStream", "Upload", "Download", "Other"}  # every other kind is an operation of GraphQL


@dataclass
class Request:
    """A request that arrived.

    Attributes:
        kind: The GraphQL operation, or "FileStream", "Upload" (of a file), "Download", "Other".
        run_id: Id of the run that it is about; None where it is about none, or about one that it names by another id.
        head: Method, path and headers, without the Authorization header.
        body: The body, unpacked.
        arrived: When it had arrived, in seconds on the monotonic clock.
        status: The status that it was answered with; None while it was not: it waits, hangs or was cut.
    """

    kind: str
    run_id: str | None
    head: str
    body: bytes = field(repr=False)
    arrived: float = 0.0
    status: int | None = None

    @property
    def body_size(self) -> int:
        """Size of the body in bytes."""
        return len(self.body)

    @property
    def raw(self) -> bytes:
        """Head and body, to search for what must not be sent."""
        return self.head.encode() + b"\n\n" + self.body

    def is_a(self, kind: str) -> bool:
        """Return whether it is of a kind, "GraphQL" and "*" among them."""
        return kind in {"*", self.kind} or (kind == GRAPHQL and self.kind not in TRANSPORT)


@dataclass(eq=False)
class Fault:
    """A fault, and to whom it happens. See :meth:`Faults.add`."""

    kind: str
    status: int | None = None
    delay: float = 0.0
    hang: bool = False
    cut: bool = False
    lose_reply: bool = False
    times: int | None = None
    when: Callable[[Request], bool] | None = None
    retry_after: float | None = None
    count: int = 0
    _removed: threading.Event = field(default_factory=threading.Event, repr=False)

    def remove(self) -> None:
        """End it: requests that it delays are obeyed, those that hang are cut, so that clients try again."""
        self._removed.set()

    @property
    def removed(self) -> bool:
        """Whether it has ended."""
        return self._removed.is_set()

    def wait(self) -> None:
        """Let a request wait for as long as the fault says."""
        self._removed.wait(None if self.hang else self.delay)


class Faults:
    """The faults of a server."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def add(
        self,
        kind: str,
        *,
        status: int | None = None,
        delay: float = 0.0,
        hang: bool = False,
        cut: bool = False,
        lose_reply: bool = False,
        times: int | None = None,
        when: Callable[[Request], bool] | None = None,
        retry_after: float | None = None,
    ) -> Fault:
        """Let requests fail until the fault is removed. Of several that fit, the first that was added strikes.

        Args:
            kind: What fails: a GraphQL operation ("UpsertBucket"), "FileStream", "Upload", "Download", "GraphQL" (every
                operation), "*" (everything).
            status: Answer with this status and do nothing.
            delay: Wait for so many seconds before doing anything.
            hang: Accept the request, do nothing and never answer.
            cut: Do nothing and close the connection.
            lose_reply: Do what is asked and close the connection without an answer.
            times: Strike only that often.
            when: Strike only requests of which this is true.
            retry_after: Seconds after which a client that got ``status`` is to try again: the header Retry-After.
        """
        fault = Fault(kind, status, delay, hang, cut, lose_reply, times, when, retry_after)
        with self._lock:
            self._faults.append(fault)
        return fault

    def strike(self, request: Request) -> Fault | None:
        """Return the fault that happens to a request, if any, and count it."""
        with self._lock:
            for fault in self._faults:
                used_up = fault.times is not None and fault.count >= fault.times
                if fault.removed or used_up or not request.is_a(fault.kind):
                    continue
                if fault.when is None or fault.when(request):
                    fault.count += 1
                    return fault
        return None

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            faults, self._faults = self._faults, []
        for fault in faults:
            fault.remove()
