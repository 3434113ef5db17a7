"""Send GraphQL queries to W&B's server through wandb-core.

Wandb-core applies the client's certificates, proxies, headers and tokens. Before wandb 0.30 it sends no queries of
other code. This module then sends them itself, with the same settings and environment variables.
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import os
import re
import ssl
import subprocess
import tempfile
import threading
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener, getproxies

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


SECOND_TRY = 3.0  # seconds; wandb-core retries a query once, after a second
START_TIMEOUT = 30.0  # seconds for the start of wandb-core
TIMEOUT_PHRASES = ("context deadline exceeded", "Client.Timeout exceeded", "i/o timeout", "handshake timeout")
NOT_JSON_PHRASES = ("invalid character", "unexpected end of JSON", "cannot unmarshal", "unexpected EOF")


class Failure(Enum):
    """Cause of a failed query."""

    TIMEOUT = "the server did not answer in time"
    NO_CONNECTION = "there was no connection"
    STATUS = "the answer has an HTTP error status"
    NOT_WANDB = "the answer is not that of a W&B server"
    UNKNOWN = "the server does not know the query"


class NoAnswerError(Exception):
    """An error for a query without an answer.

    Args:
        text: Reason, for messages; without it, that of the cause.
        status: HTTP status; 0 without one.
    """

    def __init__(self, cause: Failure, text: str = "", status: int = 0) -> None:
        super().__init__(text or cause.value)
        self.cause, self.text, self.status = cause, text, status


def core_answers_queries() -> bool:
    """Return whether this release's wandb-core sends queries: wandb 0.30 or newer."""
    try:
        from wandb.proto.wandb_api_pb2 import GraphQLRequest
    except ImportError:
        return False
    return GraphQLRequest is not None


def post_query(
    url: str, key: str | None, settings: Any, query: str, variables: Mapping[str, Any], *, timeout: float
) -> dict[str, Any]:
    """Send a GraphQL query and return the data of its answer, which has ``timeout`` seconds.

    Raises:
        NoAnswerError: The query failed.
    """
    if core_answers_queries():
        data = _post_with_core(url, key, settings, query, variables, timeout)
    else:
        data = _post_directly(url, key, settings, query, variables, timeout)
    if not isinstance(data, dict):
        raise NoAnswerError(Failure.UNKNOWN)
    return data


def _post_with_core(
    url: str, key: str | None, settings: Any, query: str, variables: Mapping[str, Any], timeout: float
) -> Any:
    from wandb.proto.wandb_api_pb2 import ApiRequest, GraphQLRequest
    from wandb.sdk.lib.service.service_connection import WandbApiFailedError

    copy = settings.model_copy()
    try:
        copy.base_url, copy.api_key = url, key
    except Exception:  # noqa: BLE001  # the text of the error contains the key
        raise NoAnswerError(Failure.NO_CONNECTION, "W&B's client refuses the address or the key") from None
    # wandb-core needs at least one retry, and whole seconds.
    copy.x_graphql_retry_max, copy.x_graphql_retry_wait_min_seconds, copy.x_graphql_retry_wait_max_seconds = 1, 1, 1
    copy.x_graphql_timeout_seconds = max(1, round(timeout))
    graphql_request = GraphQLRequest(query=query, variables_json=json.dumps(dict(variables)))
    try:
        with _private_core() as connection:
            api = connection.api_init_request(copy.to_proto())
            request = ApiRequest(api_id=api.api_id, graphql_request=graphql_request)
            answer = connection.api_request(request, timeout=timeout + SECOND_TRY)
            return json.loads(answer.graphql_response.data_json)
    except WandbApiFailedError as error:
        status = error.response.http_status if error.response else 0
        raise _error_from_core(str(error), status) from error


@contextlib.contextmanager
def _private_core() -> Iterator[Any]:
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib.service import service_port_file
    from wandb.sdk.lib.service.service_connection import ServiceConnection
    from wandb.util import get_core_path

    asyncer = wandb_setup.singleton().asyncer
    with tempfile.TemporaryDirectory(prefix="wandb-ddp-") as folder:
        file = Path(folder, "port")
        process = subprocess.Popen(  # noqa: S603  # wandb itself
            [get_core_path(), "--no-observability", "--port-filename", str(file), "--pid", str(os.getpid())],
            env={**os.environ, "WANDB_CACHE_DIR": folder},  # for wandb-core's own log
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            try:
                token = service_port_file.poll_for_token(file, process, timeout=START_TIMEOUT)
            except Exception as error:
                raise NoAnswerError(Failure.NO_CONNECTION, "wandb-core does not start") from error
            connection = ServiceConnection(asyncer=asyncer, client=token.connect(asyncer=asyncer), proc=None)
            try:
                yield connection
            finally:
                with contextlib.suppress(Exception):
                    connection._finalizer.close()  # its teardown method would end the service of this process
                    asyncer.run(connection._client.close)
        finally:
            process.kill()
            process.wait()


def _error_from_core(message: str, status: int) -> NoAnswerError:
    """Return wandb-core's error by cause, which its message contains as text."""
    retried = re.search(r"while retrying: HTTP (\d+)", message)
    if status or retried:
        return NoAnswerError(Failure.STATUS, status=status or int(retried.group(1) if retried else 0))
    if "did not respond in time" in message or any(phrase in message for phrase in TIMEOUT_PHRASES):
        return NoAnswerError(Failure.TIMEOUT)
    if 'Post "' in message or "service process" in message:
        reason = message.strip().splitlines()[-1].rsplit(": ", 1)[-1].rstrip('"')
        reason = "the connection was cut" if reason == "EOF" else reason
        proxy = "proxy: " if "proxyconnect" in message else ""
        return NoAnswerError(Failure.NO_CONNECTION, f"{proxy}{_capitalize(reason)}")
    if any(phrase in message for phrase in NOT_JSON_PHRASES):
        return NoAnswerError(Failure.NOT_WANDB)
    return NoAnswerError(Failure.UNKNOWN, message.strip())


def _post_directly(
    url: str, key: str | None, settings: Any, query: str, variables: Mapping[str, Any], timeout: float
) -> Any:
    """Send a query without wandb-core, in a thread.

    The timeout of a socket covers neither the name resolution nor a slow answer.
    """
    answers: list[Any] = []

    def send() -> None:
        try:
            answers.append(_post(url, key, settings, {"query": query, "variables": dict(variables)}, timeout))
        except Exception as problem:  # noqa: BLE001  # raised by the waiting thread
            answers.append(_error_from_urllib(problem))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(timeout)
    if not answers:
        raise NoAnswerError(Failure.TIMEOUT)
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def _post(url: str, key: str | None, settings: Any, body: Mapping[str, Any], timeout: float) -> Any:
    context = ssl.create_default_context()  # from SSL_CERT_FILE and SSL_CERT_DIR, else the system, as in wandb-core
    if getattr(settings, "insecure_disable_ssl", False):  # the user's setting, as in wandb-core
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    headers = {"Content-Type": "application/json", **(getattr(settings, "x_extra_http_headers", None) or {})}
    if key:
        headers["Authorization"] = f"Basic {base64.b64encode(f'api:{key}'.encode()).decode()}"
    opener = build_opener(ProxyHandler(_proxies(url, settings)), HTTPSHandler(context=context))
    request = Request(f"{url}/graphql", json.dumps(body).encode(), headers)  # noqa: S310  # the address of the client's settings
    with opener.open(request, timeout=timeout) as answer:
        content = json.loads(answer.read())
    if not isinstance(content, dict):
        raise NoAnswerError(Failure.NOT_WANDB)
    if content.get("errors"):
        raise NoAnswerError(Failure.UNKNOWN, str(content["errors"]))
    return content.get("data")


def _proxies(url: str, settings: Any) -> dict[str, str]:
    """Return the proxies by the scheme of an address.

    For the local host, wandb-core ignores the proxies of the environment.
    """
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        host = "localhost" if ipaddress.ip_address(host).is_loopback else host
    proxies = {} if host == "localhost" else getproxies()
    own = {scheme: getattr(settings, f"{scheme}_proxy", None) for scheme in ("http", "https")}
    return {**proxies, **{scheme: proxy for scheme, proxy in own.items() if proxy}}


def _error_from_urllib(problem: Exception) -> NoAnswerError:
    if isinstance(problem, NoAnswerError):
        return problem
    if isinstance(problem, HTTPError):
        return NoAnswerError(Failure.STATUS, status=problem.code)
    reason = problem.reason if isinstance(problem, URLError) else problem
    if isinstance(reason, TimeoutError):
        return NoAnswerError(Failure.TIMEOUT)
    if isinstance(reason, ValueError) and not isinstance(reason, OSError):
        return NoAnswerError(Failure.NOT_WANDB)
    text = re.sub(r"^[\[<][^\]>]*[\]>] | \(_ssl\.c:\d+\)$", "", str(reason))
    return NoAnswerError(Failure.NO_CONNECTION, _capitalize(text.rsplit(": ", 1)[-1]))


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]
