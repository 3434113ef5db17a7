"""The HTTP side: GraphQL, the file stream, uploads and downloads.

GraphQL is POST /graphql, the file stream POST /files/ENTITY/PROJECT/RUN/file_stream; both carry Basic authentication
for the user "api" with the API key. Uploads are PUT, downloads GET, to links that GraphQL hands out, without a key.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import re
import socket
import ssl
import sys
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from wandb_server.faults import Request
from wandb_server.runs import take_file_stream

if TYPE_CHECKING:
    from pathlib import Path

    from wandb_server.server import WandbServer

OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")


class Listener(ThreadingHTTPServer):
    """Listens, and knows its open connections, which clients keep alive."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], owner: WandbServer, certificate: Path | None = None) -> None:
        self.owner = owner
        self.connections: set[socket.socket] = set()
        self.gone = False
        super().__init__(address, _Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        self.gone = True
        for connection in list(self.connections):
            cut(connection)

    def handle_error(self, *_: Any) -> None:
        """Report mistakes of the server's, but not that a client went away, which killed clients do."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            traceback.print_exc()


class _Handler(BaseHTTPRequestHandler):
    """Takes requests: reads each, lets faults happen to it, obeys it, answers it."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def log_message(self, *_: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/graphql"):
            sent = json.loads(body)
            found = OPERATION.search(sent["query"])
            operation = sent.get("operationName") or (found.group(1) if found else "")
            variables = sent.get("variables") or {}
            self._take(Request(operation, run_named(operation, variables), self._head(), body), variables)
        elif self.path.endswith("/file_stream"):
            run_id = unquote(self.path.split("/")[-2])
            self._take(Request("FileStream", run_id, self._head(), body), json.loads(body))
        else:
            self._take(Request("Other", None, self._head(), body))

    def do_PUT(self) -> None:
        self._take(Request("Upload", self._run_of_path(), self._head(), self._body()))

    def do_GET(self) -> None:
        self._take(Request("Download", self._run_of_path(), self._head(), b""))

    def _take(self, request: Request, content: dict[str, Any] | None = None) -> None:
        owner = self.server.owner
        with owner.lock:
            request.arrived = time.monotonic()
            owner.requests.append(request)
        fault = owner.faults.strike(request)
        if fault is not None:
            fault.wait()
            if fault.cut or fault.hang or self.server.gone:
                self._cut()
                return
            if fault.status is not None:
                headers = {} if fault.retry_after is None else {"Retry-After": f"{fault.retry_after:g}"}
                self._answer(request, fault.status, {"errors": [{"message": f"fault {fault.status}"}]}, headers)
                return
        if request.kind not in {"Upload", "Download"} and not self._is_authorized():
            self._answer(request, 401, {"errors": [{"message": "invalid API key"}]})
            return
        with owner.lock:
            status, answer = self._obey(request, content or {})
        if fault is not None and fault.lose_reply:
            self._cut()
        else:
            self._answer(request, status, answer)

    def _obey(self, request: Request, content: dict[str, Any]) -> tuple[int, dict[str, Any] | bytes]:
        if request.kind == "Upload":
            return self._upload(request.body)
        if request.kind == "Download":
            return self._download()
        if request.kind == "FileStream":
            return self._file_stream(content)
        if request.kind == "Other":
            return 404, {}
        return 200, self.server.owner.backend.answer(request.kind, content)

    def _file_stream(self, content: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take a post to /files/ENTITY/PROJECT/RUN/file_stream."""
        entity, project, run_id = map(unquote, self.path.split("/")[-4:-1])
        run = self.server.owner.backend.store.run(entity, project, run_id)
        if run is None:
            return 404, {"error": f"run {run_id} not found"}
        return 200, take_file_stream(run, content, self.headers.get("X-WANDB-ASYNC-CLIENT-ID", ""))

    # Uploads and downloads go to links that GraphQL hands out: /storage/run/ENTITY/PROJECT/RUN/NAME and
    # /storage/artifact/ID/NAME

    def _storage(self) -> tuple[dict[str, bytes], str]:
        store = self.server.owner.backend.store
        parts = unquote(self.path.partition("?")[0]).split("/")[2:]
        if parts[0] == "run":
            return store.runs[parts[1], parts[2], parts[3]].uploads, "/".join(parts[4:])
        return store.artifacts[parts[1]].uploads, "/".join(parts[2:])

    def _run_of_path(self) -> str | None:
        parts = unquote(self.path).split("/")
        return parts[5] if parts[1:3] == ["storage", "run"] else None

    def _upload(self, body: bytes) -> tuple[int, dict[str, Any]]:
        uploads, name = self._storage()
        uploads[name] = body
        return 200, {}

    def _download(self) -> tuple[int, dict[str, Any] | bytes]:
        if not self.path.startswith("/storage/"):
            return 404, {}
        uploads, name = self._storage()
        return (200, uploads[name]) if name in uploads else (404, {})

    # HTTP

    def _body(self) -> bytes:
        size = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(size)
        if len(data) < size:
            message = "the client went away in the middle of its request"
            raise ConnectionError(message)
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def _head(self) -> str:
        headers = [f"{name}: {value}" for name, value in self.headers.items() if name.lower() != "authorization"]
        return "\n".join([f"{self.command} {self.path}", *headers])

    def _is_authorized(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        known = {base64.b64encode(f"api:{key}".encode()).decode() for key in self.server.owner.api_keys}
        return scheme == "Basic" and given in known

    def _cut(self) -> None:
        self.close_connection = True
        cut(self.connection)

    def _answer(
        self,
        request: Request,
        status: int,
        answer: dict[str, Any] | bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        request.status = status
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def cut(connection: socket.socket) -> None:
    """Close a connection in both directions, whoever reads from it."""
    with contextlib.suppress(OSError):  # the other side was faster
        connection.shutdown(socket.SHUT_RDWR)


def run_named(operation: str, variables: dict[str, Any]) -> str | None:
    """Return the id of the run that an operation names: ``name`` only where the operation is about a run."""
    values = {**variables, **(variables.get("input") or {})}
    named = values.get("runName") or values.get("run") or values.get("runId")
    return named or (values.get("name") if operation == "UpsertBucket" or operation.startswith("Run") else None)
