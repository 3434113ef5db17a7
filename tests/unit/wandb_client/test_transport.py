"""Proxies of a query, and the causes of failed ones, without a server."""

from __future__ import annotations

import socket
import ssl
from email.message import Message
from urllib.error import HTTPError, URLError

import pytest
import wandb

from ultralytics_wb_ddp.wandb_client.server import Server
from ultralytics_wb_ddp.wandb_client.transport import (
    Failure,
    NoAnswerError,
    _error_from_core,
    _error_from_urllib,
    _proxies,
)

URL = "https://wandb.example"
POST = f'Post "{URL}/graphql": '


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("url", "settings", "proxies"),
    [
        (URL, {}, {"https": "http://of-the-shell:1"}),
        (URL, {"https_proxy": "http://of-wandb:1"}, {"https": "http://of-wandb:1"}),
        ("http://127.0.0.1:1", {}, {}),
        ("http://localhost:1", {}, {}),
        ("http://127.0.0.1:1", {"http_proxy": "http://of-wandb:1"}, {"http": "http://of-wandb:1"}),
    ],
)
def test_proxy_of_wandbs_settings_wins_over_the_environments_which_this_machine_needs_not(
    monkeypatch: pytest.MonkeyPatch, url: str, settings: dict[str, str], proxies: dict[str, str]
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://of-the-shell:1")

    assert _proxies(url, wandb.Settings(**settings)) == proxies


@pytest.mark.parametrize(
    ("message", "status", "cause", "text"),
    [
        ("api: failed", 401, Failure.STATUS, ""),
        (f"{POST}giving up after 2 attempts, while retrying: HTTP 503", 0, Failure.STATUS, ""),
        (f"{POST}context deadline exceeded (Client.Timeout exceeded)", 0, Failure.TIMEOUT, ""),
        (f"{POST}net/http: TLS handshake timeout", 0, Failure.TIMEOUT, ""),
        ("service process did not respond in time", 0, Failure.TIMEOUT, ""),
        (f"{POST}EOF", 0, Failure.NO_CONNECTION, "The connection was cut"),
        (f"{POST}dial tcp: lookup nosuch.invalid: no such host", 0, Failure.NO_CONNECTION, "No such host"),
        (
            f"{POST}tls: failed to verify certificate: x509: certificate signed by unknown authority",
            0,
            Failure.NO_CONNECTION,
            "Certificate signed by unknown authority",
        ),
        (
            f"{POST}proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused",
            0,
            Failure.NO_CONNECTION,
            "proxy: Connection refused",
        ),
        ("invalid character '<' looking for beginning of value", 0, Failure.NOT_WANDB, ""),
        ("Cannot query field", 0, Failure.UNKNOWN, "Cannot query field"),
    ],
)
def test_cause_is_found_in_the_message_of_wandb_core(message: str, status: int, cause: Failure, text: str) -> None:
    error = _error_from_core(message, status)

    assert (error.cause, error.text) == (cause, text)
    assert error.status == (status or (503 if "HTTP 503" in message else 0))


@pytest.mark.parametrize(
    ("problem", "cause", "text"),
    [
        (HTTPError(URL, 403, "Forbidden", Message(), None), Failure.STATUS, ""),
        (URLError(TimeoutError()), Failure.TIMEOUT, ""),
        (TimeoutError(), Failure.TIMEOUT, ""),
        (URLError(ConnectionRefusedError(111, "Connection refused")), Failure.NO_CONNECTION, "Connection refused"),
        (
            URLError(socket.gaierror(-2, "Name or service not known")),
            Failure.NO_CONNECTION,
            "Name or service not known",
        ),
        (URLError(ssl.SSLCertVerificationError(1, "bad certificate")), Failure.NO_CONNECTION, "Bad certificate"),
        (ValueError("no JSON"), Failure.NOT_WANDB, ""),
        (NoAnswerError(Failure.UNKNOWN, "no such field"), Failure.UNKNOWN, "no such field"),
    ],
)
def test_cause_is_found_in_the_error_of_an_own_query(problem: Exception, cause: Failure, text: str) -> None:
    error = _error_from_urllib(problem)

    assert (error.cause, error.text) == (cause, text)


@pytest.mark.parametrize(
    ("problem", "text", "remedy"),
    [
        (NoAnswerError(Failure.TIMEOUT), "does not answer within 2 s", "network and proxy"),
        (
            NoAnswerError(Failure.NO_CONNECTION, "Certificate signed by unknown authority"),
            "cannot be reached: Certificate signed",
            "SSL_CERT_FILE or SSL_CERT_DIR",
        ),
        (
            NoAnswerError(Failure.NO_CONNECTION, "proxy: Connection refused"),
            "cannot be reached: proxy: Connection refused",
            "proxy and WANDB_BASE_URL",
        ),
        (NoAnswerError(Failure.STATUS, status=401), "refuses the key with status 401", "correct WANDB_API_KEY"),
        (NoAnswerError(Failure.STATUS, status=403), "refuses the key with status 403", "correct WANDB_API_KEY"),
        (NoAnswerError(Failure.STATUS, status=503), "answers with status 503", "the server's state"),
        (NoAnswerError(Failure.NOT_WANDB), "not as a W&B server", "WANDB_BASE_URL and the proxy"),
        (NoAnswerError(Failure.UNKNOWN), "does not answer the question Viewer", "in the browser"),
    ],
)
def test_each_cause_has_its_words_and_a_remedy(problem: NoAnswerError, text: str, remedy: str) -> None:
    error = Server(URL, "key", "WANDB_API_KEY", 2, None)._trouble("Viewer", problem)  # noqa: SLF001  # the words, without a server

    assert text in error.text
    assert remedy in error.remedy
