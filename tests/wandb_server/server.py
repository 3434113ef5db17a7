"""The server as tests see it."""

from __future__ import annotations

import threading
from pathlib import Path

from typing_extensions import Self

from wandb_server.faults import Faults, Request
from wandb_server.graphql import Backend
from wandb_server.listener import Listener
from wandb_server.store import StoredRun, StoredSweep

API_KEY = "0123456789abcdef0123456789abcdef01234567"


class WandbServer:
    """A W&B backend on a free port of this machine while the ``with`` statement lasts.

    Attributes:
        url: Its address.
        backend: What it keeps.
        faults: What goes wrong, see :meth:`Faults.add`.
        api_keys: The API keys that it knows; whoever gives another, or none, is answered 401.
        requests: All that arrived, in order.

    Args:
        certificate: File with a certificate for 127.0.0.1 and its key: it is asked by https then.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.faults = Faults()
        self.api_keys = {API_KEY}
        self.requests: list[Request] = []
        self.lock = threading.Lock()  # held while a request is obeyed, never while one waits
        self._address = ("127.0.0.1", 0)
        self._listener: Listener | None = None
        self._certificate = certificate

    def __enter__(self) -> Self:
        self.up()
        self.url = f"http{'s' if self._certificate else ''}://127.0.0.1:{self._address[1]}"
        self.backend = Backend(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.clear()
        self.down()

    def down(self) -> None:
        """Go away: connections are refused, open ones are cut. All data stay."""
        if self._listener is not None:
            self._listener.shutdown()
            self._listener.server_close()
            self._listener.cut_connections()
            self._listener = None

    def up(self) -> None:
        """Come back, on the same port."""
        self._listener = listener = Listener(self._address, self, self._certificate)
        self._address = ("127.0.0.1", listener.server_address[1])
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self, run_id: str) -> None:
        """Press the Stop button of a run, until a session opens it again."""
        self.backend.runs[run_id].stopped = True

    def count(self, kind: str) -> int:
        """Return how many requests of a kind arrived; kinds are those of :meth:`Faults.add`."""
        return sum(1 for request in list(self.requests) if request.is_a(kind))

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a client finds this server."""
        return {
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": API_KEY,
            "WANDB_MODE": "online",
            "WANDB_ERROR_REPORTING": "false",
        }

    @property
    def runs(self) -> list[StoredRun]:
        """All runs, in the order in which they were made."""
        return list(self.backend.store.runs.values())

    @property
    def sweeps(self) -> list[StoredSweep]:
        """All sweeps, in the order in which they were made."""
        return list(self.backend.store.sweeps.values())

    @property
    def received(self) -> list[bytes]:
        """All that arrived, each with path, headers and unpacked body but without its Authorization header."""
        return [request.raw for request in list(self.requests)]
