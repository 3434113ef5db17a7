"""Questions to W&B's server: they have the client's certificates, proxies and headers, so both work or neither does."""

from __future__ import annotations

import select
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener
from urllib.request import Request as Question

import pytest
import wandb
from wandb_server import API_KEY, WandbServer

from support.jobs import NIGHTLY, run_command, run_in, scenario_environment
from support.paths import SCENARIOS
from ultralytics_wb_ddp.wandb_client.server import Server, ServerError
from ultralytics_wb_ddp.wandb_client.transport import Failure, NoAnswerError, _post_directly

SCENARIO = str(SCENARIOS / "plain_runs.py")
DIRECT = build_opener(ProxyHandler({}))
SECRET = "the-word-at-the-gate"
VIEWER = "query Viewer { viewer { id entity } }"


class Proxy(ThreadingHTTPServer):
    """A forward proxy that keeps the addresses of its requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_CONNECT(self) -> None:
        self.server.asked.append(self.path)
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as other:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: other, other: self.connection}
            while True:
                for end in select.select([*ends], [], [])[0]:
                    if not (data := end.recv(65536)):
                        return
                    ends[end].sendall(data)

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) if self.command != "GET" else None
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        with DIRECT.open(Question(self.path, body, headers, method=self.command)) as answer:
            content = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST  # noqa: N815  # as the base class calls them


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    server = Proxy()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that the system does not know, in a file with its key."""
    if not (openssl := shutil.which("openssl")):
        pytest.skip("there is no openssl to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=loopback -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    subprocess.run([openssl, *words.split(), *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "certificate.pem").read_text())
    return both


class Answers(NamedTuple):
    """Whether the client and each command works, and all that they print."""

    client: bool
    doctor: bool
    sync: bool
    download: bool
    text: str

    @property
    def all(self) -> set[bool]:
        return {self.client, self.doctor, self.sync, self.download}


def ask_all(directory: Path, server: WandbServer, **env: str) -> Answers:
    """Let the client make a run, and the commands ask for it, with the same variables."""
    variables = {**server.environment, "NO_PROXY": "", "no_proxy": "", **env}
    for folder in ("home", "yolo"):
        (directory / folder).mkdir(exist_ok=True)
    environment = scenario_environment(directory, directory, variables)
    client = run_in(directory, [sys.executable, SCENARIO, "log_online"], environment, check=False)
    run_in(directory, [sys.executable, SCENARIO, "log_offline"], environment)
    (kept,) = (directory / "wandb").glob("offline-run-*-kept")
    commands = (
        ["doctor", "--project", "demo"],
        ["sync", str(kept)],
        ["download", "team/demo/abc", str(directory / "down")],
    )
    done = [run_command(directory, *words, timeout=400, **variables) for words in commands]
    codes = [client.exit_code, *(one.returncode for one in done)]
    text = "".join([client.output, *(one.stdout + one.stderr for one in done)])
    return Answers(*(code == 0 for code in codes), text)


def test_commands_use_proxy_and_headers_of_the_client(tmp_path: Path, proxy: Proxy) -> None:
    header = f'{{"X-Gate": "{SECRET}"}}'
    with WandbServer() as server:
        server.faults.add("GraphQL", status=403, when=lambda request: SECRET not in request.head)
        answers = ask_all(tmp_path, server, WANDB_HTTP_PROXY=proxy.url, WANDB_X_EXTRA_HTTP_HEADERS=header)
        asked = sum(path.endswith("/graphql") for path in proxy.asked)
        graphql = server.count("GraphQL")

    assert answers.all == {True}, answers
    assert asked == graphql, "nothing goes past the proxy"
    assert SECRET not in answers.text


@NIGHTLY
@pytest.mark.parametrize(
    ("variables", "works"),
    [
        ({"SSL_CERT_FILE": "file"}, True),
        ({"SSL_CERT_DIR": "folder"}, True),
        ({"REQUESTS_CA_BUNDLE": "file", "CURL_CA_BUNDLE": "file"}, False),
        ({}, False),
        ({"WANDB_INSECURE_DISABLE_SSL": "true"}, True),
    ],
)
def test_server_is_trusted_where_the_client_trusts_it(
    tmp_path: Path, certificate: Path, variables: dict[str, str], *, works: bool
) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    shutil.copy(certificate.with_name("certificate.pem"), folder)
    places = {"file": str(certificate.with_name("certificate.pem")), "folder": str(folder)}
    with WandbServer(certificate) as server:
        answers = ask_all(tmp_path, server, **{name: places.get(kind, kind) for name, kind in variables.items()})

    assert answers.all == {works}, answers
    assert works or "certificate signed by unknown authority" in answers.text
    assert works or "SSL_CERT_FILE or SSL_CERT_DIR" in " ".join(answers.text.split())


@NIGHTLY
def test_proxy_that_the_client_uses_is_used(tmp_path: Path, proxy: Proxy) -> None:
    with WandbServer() as server:
        answers = ask_all(tmp_path, server, WANDB_HTTP_PROXY=proxy.url)
        arrived = {request.kind for request in server.requests if request.kind not in {"Upload", "Download"}}
        asked = sum(path.endswith("/graphql") for path in proxy.asked)
        graphql = server.count("GraphQL")

    assert answers.all == {True}, answers
    assert {"Viewer", "UpsertBucket", "RunHistoryKeys"} - {"RunHistoryKeys"} <= arrived
    assert asked == graphql, "nothing goes past the proxy"


@NIGHTLY
def test_proxy_for_https_is_used(tmp_path: Path, certificate: Path, proxy: Proxy) -> None:
    trusted = str(certificate.with_name("certificate.pem"))
    with WandbServer(certificate) as server:
        done = run_command(
            tmp_path,
            "doctor",
            "--project",
            "demo",
            timeout=60,
            **server.environment,
            WANDB_HTTPS_PROXY=proxy.url,
            SSL_CERT_FILE=trusted,
        )

    assert done.returncode == 0, done.stdout
    assert set(proxy.asked) == {server.url.removeprefix("https://")}


@NIGHTLY
def test_proxy_that_is_away_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        away = f"http://user:{SECRET}@127.0.0.1:{unused.getsockname()[1]}"
    with WandbServer() as server:
        done = run_command(tmp_path, "doctor", timeout=60, **server.environment, WANDB_HTTP_PROXY=away)

    assert done.returncode == 1
    assert "cannot be reached: proxy: Connection refused" in " ".join(done.stdout.split())
    assert SECRET not in done.stdout + done.stderr


@NIGHTLY
@pytest.mark.parametrize("given", [True, False])
def test_header_that_the_client_sends_is_sent_and_never_shown(tmp_path: Path, *, given: bool) -> None:
    header = {"WANDB_X_EXTRA_HTTP_HEADERS": f'{{"X-Gate": "{SECRET}"}}'} if given else {}
    with WandbServer() as server:
        server.faults.add("GraphQL", status=403, when=lambda request: SECRET not in request.head)
        answers = ask_all(tmp_path, server, **header)

    assert answers.all == {given}, answers
    assert SECRET not in answers.text


@NIGHTLY
def test_proxy_of_a_settings_file_is_used(tmp_path: Path, proxy: Proxy) -> None:
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "settings").write_text(f"[default]\nhttp_proxy = {proxy.url}\n")
    with WandbServer() as server:
        done = run_command(tmp_path, "doctor", "--project", "demo", timeout=60, **server.environment)

    assert done.returncode == 0, done.stdout
    assert proxy.asked


# Causes of failed queries


def ask(server: WandbServer | str, timeout: float = 2) -> ServerError:
    url = server if isinstance(server, str) else server.url
    with pytest.raises(ServerError) as raised:
        Server(url, API_KEY, "WANDB_API_KEY", timeout, wandb.Settings(base_url=url)).ask("Viewer", VIEWER)
    return raised.value


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"status": 401}, "refuses the key with status 401"),
        ({"status": 403}, "refuses the key with status 403"),
        ({"status": 404}, "answers with status 404"),
        ({"status": 429}, "answers with status 429"),
        ({"status": 503}, "answers with status 503"),
        ({"hang": True}, "does not answer within 2 s"),
        ({"cut": True}, "cannot be reached: The connection was cut"),
    ],
)
def test_each_trouble_has_its_words(fault: dict[str, int | bool], words: str) -> None:
    with WandbServer() as server:
        server.faults.add("*", **fault)  # type: ignore[arg-type]

        assert words in ask(server).text


@pytest.mark.parametrize("key", [f" {SECRET}", f"{SECRET}\n", "\x00", "ü" * 40])
def test_odd_key_is_an_error_that_does_not_show_it(key: str) -> None:
    with WandbServer() as server:
        asked = Server(server.url, key, "WANDB_API_KEY", 2, wandb.Settings(base_url=server.url))
        with pytest.raises(ServerError) as raised:
            asked.ask("Viewer", VIEWER)

    assert key.strip() not in str(raised.value)


def test_certificate_that_the_client_knows_is_known(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    with WandbServer(certificate) as server:
        unknown = ask(server)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("certificate.pem")))
        settings = wandb.Settings(base_url=server.url)
        entity = Server(server.url, API_KEY, "WANDB_API_KEY", 2, settings).default_entity()

    assert "ertificate signed by unknown authority" in unknown.text
    assert "SSL_CERT_FILE or SSL_CERT_DIR" in unknown.remedy
    assert entity == "team"


def test_host_without_an_address_is_told() -> None:
    assert "o such host" in ask("http://nosuch.invalid").text


def test_other_server_is_none_of_wandbs(monkeypatch: pytest.MonkeyPatch) -> None:
    with WandbServer() as server:
        monkeypatch.setattr(server.backend, "answer", lambda *_: "<html>")  # a proxy's login page, say

        assert "not as a W&B server" in ask(server).text


# Releases of wandb whose wandb-core answers no questions


def ask_directly(url: str, **settings: object) -> dict[str, object]:
    made = wandb.Settings(base_url=url, **settings)  # type: ignore[arg-type]
    found: dict[str, object] = _post_directly(url, API_KEY, made, VIEWER, {}, 2)
    return found


def test_older_client_asks_with_the_same_certificates(monkeypatch: pytest.MonkeyPatch, certificate: Path) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.with_name("certificate.pem")))
    with WandbServer(certificate) as server:
        with pytest.raises(NoAnswerError) as raised:
            ask_directly(server.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_name("certificate.pem")))
        found = ask_directly(server.url)

    assert raised.value.cause is Failure.NO_CONNECTION
    assert found["viewer"]


def test_older_client_asks_with_the_same_proxy_and_headers(monkeypatch: pytest.MonkeyPatch, proxy: Proxy) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")  # wandb-core takes none of these to this machine
    with WandbServer() as server:
        ask_directly(server.url)
        ask_directly(server.url, http_proxy=proxy.url, x_extra_http_headers={"X-Gate": SECRET})

    assert [urlsplit(path).path for path in proxy.asked] == ["/graphql"]
    assert SECRET in server.requests[-1].head


@pytest.mark.parametrize(
    ("fault", "cause"),
    [({"status": 500}, Failure.STATUS), ({"hang": True}, Failure.TIMEOUT), ({"cut": True}, Failure.NO_CONNECTION)],
)
def test_older_client_tells_troubles_apart(fault: dict[str, int | bool], cause: Failure) -> None:
    with WandbServer() as server:
        server.faults.add("*", **fault)  # type: ignore[arg-type]
        with pytest.raises(NoAnswerError) as raised:
            ask_directly(server.url)

    assert raised.value.cause is cause
