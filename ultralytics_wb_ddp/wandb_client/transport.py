"""How a question gets to W&B's server: through wandb-core, as the runs do, so with all that the client is set to.

Certificates, proxies, headers and tokens are the client's own affair then. wandb before 0.30 has wandb-core answer no
questions; there they are put with what wandb-core takes from its settings and the environment.
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


SECOND_TRY = 3.0  # seconds; wandb-core asks again once, a second after the first time
START_TIMEOUT = 30.0  # seconds that wandb-core may take to start
LATE_WORDS = ("context deadline exceeded", "Client.Timeout exceeded", "i/o timeout", "handshake timeout")
FOREIGN_WORDS = ("invalid character", "unexpected end of JSON", "cannot unmarshal", "unexpected EOF")


class Failure(Enum):
    """Why a question got no answer."""

    LATE = "it did not come in time"
    AWAY = "there was no connection"
    STATUS = "it has a status of HTTP's for trouble"
    FOREIGN = "it is none of a W&B server's"
    UNKNOWN = "the server does not know it"


class NoAnswerError(Exception):
    """A question got no answer.

    Args:
        why: Why not.
        text: What the reason is.
        status: The status.
    """

    def __init__(self, why: Failure, text: str = "", status: int = 0) -> None:
        super().__init__(text or why.value)
        self.why, self.text, self.status = why, text, status


def core_answers_queries() -> bool:
    """Return whether this release of wandb has wandb-core ask questions."""
    try:
        from wandb.proto.wandb_api_pb2 import GraphQLRequest
    except ImportError:
        return False
    return GraphQLRequest is not None


def post_query(
    url: str, key: str | None, settings: Any, query: str, variables: Mapping[str, Any], *, timeout: float
) -> dict[str, Any]:
    """Put a question of GraphQL to a server and return the data of its answer.

    Args:
        url: Address of the server.
        key: API key; None sends none.
        settings: The client's settings.
        query: The question.
        variables: Its variables.
        timeout: Seconds that the server has.

    Raises:
        NoAnswerError: There is no answer.
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

    made = settings.model_copy()
    try:
        made.base_url, made.api_key = url, key
    except Exception:  # noqa: BLE001  # its text quotes the key
        raise NoAnswerError(Failure.AWAY, "W&B's client refuses the address or the key") from None
    # wandb-core takes no less than one more try, and whole seconds only.
    made.x_graphql_retry_max, made.x_graphql_retry_wait_min_seconds, made.x_graphql_retry_wait_max_seconds = 1, 1, 1
    made.x_graphql_timeout_seconds = max(1, round(timeout))
    asked = GraphQLRequest(query=query, variables_json=json.dumps(dict(variables)))
    try:
        with _private_core() as connection:
            session = connection.api_init_request(made.to_proto())
            request = ApiRequest(api_id=session.api_id, graphql_request=asked)
            answer = connection.api_request(request, timeout=timeout + SECOND_TRY)
            return json.loads(answer.graphql_response.data_json)
    except WandbApiFailedError as error:
        status = error.response.http_status if error.response else 0
        raise _error_from_core(str(error), status) from error


@contextlib.contextmanager
def _private_core() -> Iterator[Any]:
    """Start a wandb-core for questions, apart from the one that holds this process's runs."""
    from wandb.sdk import wandb_setup
    from wandb.sdk.lib.service import service_port_file
    from wandb.sdk.lib.service.service_connection import ServiceConnection
    from wandb.util import get_core_path

    asyncer = wandb_setup.singleton().asyncer
    with tempfile.TemporaryDirectory(prefix="wandb-ddp-") as folder:
        file = Path(folder, "port")
        process = subprocess.Popen(  # noqa: S603  # wandb itself
            [get_core_path(), "--no-observability", "--port-filename", str(file), "--pid", str(os.getpid())],
            env={**os.environ, "WANDB_CACHE_DIR": folder},  # where it keeps its own log
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            try:
                token = service_port_file.poll_for_token(file, process, timeout=START_TIMEOUT)
            except Exception as error:
                raise NoAnswerError(Failure.AWAY, "wandb-core does not start") from error
            connection = ServiceConnection(asyncer=asyncer, client=token.connect(asyncer=asyncer), proc=None)
            try:
                yield connection
            finally:
                with contextlib.suppress(Exception):
                    connection._finalizer.close()  # its own teardown is that of the process's service
                    asyncer.run(connection._client.close)
        finally:
            process.kill()
            process.wait()


def _error_from_core(message: str, status: int) -> NoAnswerError:
    """Return what wandb-core says, sorted: it tells most of it in words."""
    retried = re.search(r"while retrying: HTTP (\d+)", message)
    if status or retried:
        return NoAnswerError(Failure.STATUS, status=status or int(retried.group(1) if retried else 0))
    if "did not respond in time" in message or any(word in message for word in LATE_WORDS):
        return NoAnswerError(Failure.LATE)
    if 'Post "' in message or "service process" in message:
        reason = message.strip().splitlines()[-1].rsplit(": ", 1)[-1].rstrip('"')
        reason = "the connection was cut" if reason == "EOF" else reason
        return NoAnswerError(Failure.AWAY, f"{'proxy: ' if 'proxyconnect' in message else ''}{_capitalize(reason)}")
    if any(word in message for word in FOREIGN_WORDS):
        return NoAnswerError(Failure.FOREIGN)
    return NoAnswerError(Failure.UNKNOWN, message.strip())


def _post_directly(
    url: str, key: str | None, settings: Any, query: str, variables: Mapping[str, Any], timeout: float
) -> Any:
    """Ask as wandb-core is set up, in a thread: a limit of a socket's holds neither for a name nor for a trickle."""
    answers: list[Any] = []

    def ask() -> None:
        try:
            answers.append(_post(url, key, settings, {"query": query, "variables": dict(variables)}, timeout))
        except Exception as problem:  # noqa: BLE001  # told by the thread that waits
            answers.append(_error_from_urllib(problem))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    if not answers:
        raise NoAnswerError(Failure.LATE)
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def _post(url: str, key: str | None, settings: Any, body: Mapping[str, Any], timeout: float) -> Any:
    context = ssl.create_default_context()  # SSL_CERT_FILE and SSL_CERT_DIR, else the system's, as wandb-core
    if getattr(settings, "insecure_disable_ssl", False):  # the user's own choice, which wandb-core follows
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    headers = {"Content-Type": "application/json", **(getattr(settings, "x_extra_http_headers", None) or {})}
    if key:
        headers["Authorization"] = f"Basic {base64.b64encode(f'api:{key}'.encode()).decode()}"
    opener = build_opener(ProxyHandler(_proxies(url, settings)), HTTPSHandler(context=context))
    request = Request(f"{url}/graphql", json.dumps(body).encode(), headers)  # noqa: S310  # the client's own address
    with opener.open(request, timeout=timeout) as answer:
        content = json.loads(answer.read())
    if not isinstance(content, dict):
        raise NoAnswerError(Failure.FOREIGN)
    if content.get("errors"):
        raise NoAnswerError(Failure.UNKNOWN, str(content["errors"]))
    return content.get("data")


def _proxies(url: str, settings: Any) -> dict[str, str]:
    """Return the proxies by the scheme of an address; of the environment's, wandb-core takes none to this machine."""
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
        return NoAnswerError(Failure.LATE)
    if isinstance(reason, ValueError) and not isinstance(reason, OSError):
        return NoAnswerError(Failure.FOREIGN)
    text = re.sub(r"^[\[<][^\]>]*[\]>] | \(_ssl\.c:\d+\)$", "", str(reason))
    return NoAnswerError(Failure.AWAY, _capitalize(text.rsplit(": ", 1)[-1]))


def _capitalize(text: str) -> str:
    """Return a sentence that begins with a capital."""
    return text[:1].upper() + text[1:]
