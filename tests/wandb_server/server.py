"""The HTTP side: GraphQL, the file stream, uploads."""

from __future__ import annotations

import gzip
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from typing_extensions import Self

from wandb_server.graphql import Backend
from wandb_server.store import StoredRun

API_KEY = "0123456789abcdef0123456789abcdef01234567"
OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")


class WandbServer:
    """A W&B backend on a free port of this machine while the ``with`` statement lasts."""

    def __enter__(self) -> Self:
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self.backend = self._http.backend = Backend(self.url)  # type: ignore[attr-defined]
        self._http.lock = threading.Lock()  # type: ignore[attr-defined]
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

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
        return list(self.backend.runs.values())


class _Http(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Leave out that a client went away in the middle of a connection, which killed clients do."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        body = self._body()
        with self.server.lock:  # type: ignore[attr-defined]
            if self.path.endswith("/graphql"):
                request = json.loads(body)
                found = OPERATION.search(request["query"])
                operation = request.get("operationName") or (found.group(1) if found else "")
                self._send(self._backend.answer(operation, request.get("variables") or {}))
            elif self.path.endswith("/file_stream"):
                self._send(self._file_stream(json.loads(body)))
            else:
                self._send({}, status=404)

    def do_PUT(self) -> None:
        body = self._body()
        with self.server.lock:  # type: ignore[attr-defined]
            self._backend.uploads[unquote(self.path.removeprefix("/upload/"))] = body
            self._send({})

    @property
    def _backend(self) -> Backend:
        return self.server.backend  # type: ignore[attr-defined, no-any-return]

    def _file_stream(self, request: dict[str, Any]) -> dict[str, Any]:
        """Take lines of history, console and events; the path is /files/ENTITY/PROJECT/RUN/file_stream."""
        run = self._backend.runs[unquote(self.path.split("/")[-2])]
        for name, part in (request.get("files") or {}).items():
            if name == "wandb-summary.json":
                run.summaries.append((time.monotonic(), json.loads(part["content"][-1])))
            else:
                run.stream(name).write(part["offset"], part["content"])
        if request.get("complete"):
            run.exit_code = request.get("exitcode", 0)
            run.state = "failed" if run.exit_code else "finished"
        return {}

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _send(self, answer: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
