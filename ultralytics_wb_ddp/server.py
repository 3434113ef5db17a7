"""W&B's server asked directly, with one request for each question and a limit in time.

The client's own calls repeat what fails, for minutes in some releases, and report a server in trouble and one that is
away in the same words.
"""

from __future__ import annotations

import netrc
import os
import re
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ultralytics_wb_ddp.errors import ExplainedError

__all__ = ["VIEWER", "Server", "Trouble", "find_key", "find_server", "require_server", "trouble_with_key"]

UNAUTHORIZED, FORBIDDEN, FAILURE = 401, 403, 400
KEY_LENGTH = 40
VIEWER = "query Viewer { viewer { id entity } }"


class Trouble(ExplainedError):  # noqa: N818  # it may be a warning only
    """A question that got no answer; its message says why, and what to do.

    Args:
        text: What is the case.
        remedy: What to do about it.
        about: What it is about: ``"server"`` or ``"key"``.
        status: ``"error"``, or ``"warning"`` where it may be meant so.
    """

    def __init__(self, text: str, remedy: str, *, about: str = "server", status: str = "error") -> None:
        super().__init__(f"{text}; {remedy}")
        self.text, self.remedy, self.about, self.status = text, remedy, about, status


@dataclass(frozen=True)
class Server:
    """A server that questions are put to."""

    url: str
    key: str | None
    source: str
    timeout: float

    def ask(self, operation: str, query: str, **variables: str) -> dict[str, Any]:
        """Return the data of an answer.

        Raises:
            Trouble: There is none.
        """
        answers: list[Any] = []
        body = {"operationName": operation, "query": query, "variables": variables}
        thread = threading.Thread(target=self._post, args=(body, answers), daemon=True)
        thread.start()
        thread.join(self.timeout)  # the timeout of requests limits neither the look-up of a name nor a trickle
        if not answers:
            text = f"{self.url} does not answer within {self.timeout:g} s"
            raise Trouble(text, "check network and proxy")
        if isinstance(answers[0], Exception):
            text = f"{self.url} cannot be reached: {_root_cause(answers[0])}"
            raise Trouble(text, "check network, proxy and WANDB_BASE_URL")
        return self._data(operation, answers[0])

    def _post(self, body: dict[str, Any], answers: list[Any]) -> None:
        import requests

        auth = ("api", self.key) if self.key else None
        try:
            answers.append(requests.post(f"{self.url}/graphql", json=body, auth=auth, timeout=self.timeout))
        except requests.Timeout:
            return
        except Exception as problem:  # noqa: BLE001  # told by the thread that waits
            answers.append(problem)

    def _data(self, operation: str, answer: Any) -> dict[str, Any]:
        if answer.status_code in {UNAUTHORIZED, FORBIDDEN}:
            refusal = self.refusal(f"with status {answer.status_code}")
            raise refusal
        if answer.status_code >= FAILURE:
            text = f"{self.url} answers with status {answer.status_code}"
            raise Trouble(text, "check WANDB_BASE_URL and the server's state")
        try:
            content = answer.json()
            problems, data = content.get("errors"), content.get("data")
        except (ValueError, AttributeError):
            text = f"{self.url} answers, but not as a W&B server"
            raise Trouble(text, "check WANDB_BASE_URL and the proxy") from None
        if problems or not isinstance(data, dict):
            text = f"{self.url} does not answer the question {operation}"
            raise Trouble(text, "look at project and run in the browser", status="warning")
        return data

    def refusal(self, how: str) -> Trouble:
        """Return that the key is of no use here."""
        login = f"wandb login --relogin --host {self.url}"
        change = {
            "WANDB_API_KEY": f"correct WANDB_API_KEY, or unset it and call: {login}",
            "cfg.wandb.api_key": "correct cfg.wandb.api_key",
        }
        remedy = f"{change.get(self.source, login)}; it must be a key of the account that the run belongs to"
        return Trouble(f"{self.url} refuses the key {how}", remedy, about="key")


def find_server(api_key: str | None = None, *, timeout: float = 30.0) -> Server:
    """Return the server that W&B's client is set to.

    Args:
        api_key: API key of W&B; without, the environment or netrc has one.
        timeout: Seconds that it has for each answer.
    """
    from wandb.sdk import wandb_setup

    # The client reads the environment once in a process, its public API each time.
    url = str(os.environ.get("WANDB_BASE_URL") or wandb_setup.singleton().settings.base_url).rstrip("/")
    return Server(url, *find_key(api_key, url), timeout)


def require_server(api_key: str | None = None) -> None:
    """Make sure that the server answers and knows the key, before the client's own calls take half a minute for it.

    Args:
        api_key: API key of W&B; without, the environment or netrc has one.

    Raises:
        Trouble: It does not; the message says why and what to do.
    """
    from wandb.sdk import wandb_setup

    if getattr(wandb_setup.singleton().settings, "identity_token_file", None):  # the client trades it for a key
        return
    server = find_server(api_key)
    if trouble := trouble_with_key(server.key, server.source, server.url):
        msg = f"API key: {trouble.text}"
        raise Trouble(msg, trouble.remedy, about="key")
    if not server.ask("Viewer", VIEWER).get("viewer"):
        refusal = server.refusal("as unknown")
        raise refusal


def find_key(given: str | None, url: str) -> tuple[str | None, str]:
    """Return the API key and where it comes from, in the order in which the manager and W&B look."""
    if given:
        return given, "cfg.wandb.api_key"
    if os.environ.get("WANDB_API_KEY"):
        return os.environ["WANDB_API_KEY"], "WANDB_API_KEY"
    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(url).netloc)
    except (OSError, netrc.NetrcParseError):
        found = None
    return (found[2] or None, "netrc") if found else (None, "")


def trouble_with_key(key: str | None, source: str, url: str) -> Trouble | None:
    """Return why a key cannot be one, without showing it; None where it may be one.

    Args:
        key: The key.
        source: Where it comes from.
        url: Address of the server.
    """
    remedy = f"wandb login --host {url}, or set WANDB_API_KEY"
    if key is None:
        text = f"there is none for {url}, neither in WANDB_API_KEY nor in netrc"
    elif len(key) < KEY_LENGTH:
        text = f"the one of {source} has {len(key)} characters; a key has at least {KEY_LENGTH}"
    elif key != key.strip():
        text = f"the one of {source} starts or ends with white space"
    else:
        return None
    return Trouble(text, remedy, about="key")


def _root_cause(problem: BaseException) -> str:
    """Return the innermost reason of a failed connection, which the outer ones bury."""
    while True:
        inner = getattr(problem, "reason", None) or next(
            (arg for arg in problem.args if isinstance(arg, Exception)), None
        )
        if not isinstance(inner, BaseException):
            text = re.sub(r"\[Errno -?\d+\] ", "", str(problem)).rsplit(": ", 1)[-1]
            return text if text.count("(") == text.count(")") else text.rstrip(")")
        problem = inner
