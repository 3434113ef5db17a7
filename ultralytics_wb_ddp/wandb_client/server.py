"""Query W&B's server through W&B's client, with a timeout for each query.

The client's public calls retry failed requests, for minutes in some releases. They report a server with errors and an
unreachable server in the same words.
"""

from __future__ import annotations

import netrc
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ultralytics_wb_ddp.utils.errors import UserError, raise_as
from ultralytics_wb_ddp.wandb_client.internals import no_login_prompt
from ultralytics_wb_ddp.wandb_client.transport import Failure, NoAnswerError, core_answers_queries, post_query

RUN_FOLDER = re.compile(r"(offline-)?run-\d{8}_\d{6}-|latest-run$")  # W&B's name of a run's folder
API_TIMEOUT = 30  # seconds for an answer of the server
UNAUTHORIZED, FORBIDDEN = 401, 403
KEY_LENGTH = 40
RUN_STATE = """
query Run($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { id name state heartbeatAt } }
}
"""
VIEWER = "query Viewer { viewer { id entity } }"
ROW_COUNT_LAG = 5.0  # seconds; the service usually needs 2 to 4 to count rows (wandb#12421)


class DownloadError(UserError):
    """An error for a run that cannot be downloaded."""


def find_run(path: str, api_key: str | None) -> Any:
    """Return the run of W&B's public API, by ``entity/project/run-id`` or its web address.

    Raises:
        DownloadError: The path is wrong, or the run cannot be read.
    """
    import wandb

    check_path(path)
    remedy = "check its path, entity/project/run-id, the server (WANDB_BASE_URL) and whether this API key may read it"
    with raise_as(DownloadError, f"run {path!r} cannot be read", remedy):
        require_server(api_key)
        with no_login_prompt():
            return wandb.Api(timeout=API_TIMEOUT, api_key=api_key).run(_path_of(path))


def check_path(run: str) -> None:
    """Refuse a text that is no run's path, without a query.

    Raises:
        DownloadError: The text is a folder of this machine, or has another form.
    """
    parts = _path_of(run).split("/")
    if Path(run).exists() or RUN_FOLDER.match(parts[-1]):
        msg = (
            f"run {run!r} is a folder of this machine, and entity/project/run-id is expected; send what it holds with: "
            f"ultralytics-wb-ddp sync {run}, or read it with ultralytics_wb_ddp.testing.read_run({run!r})"
        )
        raise DownloadError(msg)
    least = 3 if run.startswith(("/", ".", "~")) else 2  # without an entity, W&B uses the default one
    if not least <= len(parts) <= 3 or not all(part.strip() for part in parts):  # noqa: PLR2004  # with the entity
        msg = f"run {run!r} is no path of a run; give entity/project/run-id, or its web address"
        raise DownloadError(msg)


def _path_of(run: str) -> str:
    path = run.partition("?")[0].strip("/")
    if "://" in path:
        path = unquote(path.partition("://")[2].partition("/")[2])
    return path.replace("/runs/", "/")


class ServerError(UserError):  # the doctor shows some as warnings
    """An error for a failed query.

    Args:
        text: The cause.
        remedy: The remedy.
        about: Subject of the error: ``"server"`` or ``"key"``.
        status: ``"error"``, or ``"warning"`` if the state may be intended.
    """

    def __init__(self, text: str, remedy: str, *, about: str = "server", status: str = "error") -> None:
        super().__init__(f"{text}; {remedy}")
        self.text, self.remedy, self.about, self.status = text, remedy, about, status


@dataclass(frozen=True)
class Server:
    """A W&B server and the settings for queries to it.

    Attributes:
        key: API key, or None.
        source: Origin of the key, such as ``"WANDB_API_KEY"``.
        timeout: Seconds for each answer.
    """

    url: str
    key: str | None
    source: str
    timeout: float
    settings: Any

    @property
    def has_token(self) -> bool:
        """Whether the client trades an identity token for a key."""
        return bool(getattr(self.settings, "identity_token_file", None))

    def ask(self, operation: str, query: str, **variables: str) -> dict[str, Any]:
        """Return the data of a GraphQL query. ``operation`` names it in messages.

        Raises:
            ServerError: The query failed.
        """
        try:
            return post_query(self.url, self.key, self.settings, query, variables, timeout=self.timeout)
        except NoAnswerError as problem:
            server_error = self._trouble(operation, problem)
        raise server_error

    def default_entity(self) -> str:
        """Return the default entity of the API key, or an empty string.

        Raises:
            ServerError: The query failed.
        """
        return str((self.ask("Viewer", VIEWER).get("viewer") or {}).get("entity") or "")

    def _trouble(self, operation: str, problem: NoAnswerError) -> ServerError:
        if problem.cause is Failure.TIMEOUT:
            return ServerError(f"{self.url} does not answer within {self.timeout:g} s", "check network and proxy")
        if problem.cause is Failure.NO_CONNECTION:
            remedy = "check network, proxy and WANDB_BASE_URL"
            if "certificate" in problem.text.lower():
                remedy = "set SSL_CERT_FILE or SSL_CERT_DIR to where the certificates are that are to be trusted"
            return ServerError(f"{self.url} cannot be reached: {problem.text}", remedy)
        if problem.status in {UNAUTHORIZED, FORBIDDEN}:
            return self.refusal(f"with status {problem.status}")
        if problem.cause is Failure.STATUS:
            text = f"{self.url} answers with status {problem.status}"
            return ServerError(text, "check WANDB_BASE_URL and the server's state")
        if problem.cause is Failure.NOT_WANDB:
            return ServerError(f"{self.url} answers, but not as a W&B server", "check WANDB_BASE_URL and the proxy")
        text = f"{self.url} does not answer the question {operation}"
        return ServerError(text, "look at project and run in the browser", status="warning")

    def refusal(self, detail: str) -> ServerError:
        """Return the error for a key that was refused in some way, such as ``"with status 401"``."""
        login = f"wandb login --relogin --host {self.url}"
        change = {
            "WANDB_API_KEY": f"correct WANDB_API_KEY, or unset it and call: {login}",
            "cfg.wandb.api_key": "correct cfg.wandb.api_key",
        }
        remedy = f"{change.get(self.source, login)}; it must be a key of the account that the run belongs to"
        return ServerError(f"{self.url} refuses the key {detail}", remedy, about="key")


def find_server(api_key: str | None = None, *, timeout: float = 30.0) -> Server:
    """Return the server in the settings of W&B's client. Each answer has ``timeout`` seconds."""
    from wandb.sdk import wandb_setup

    # The client reads the environment once in a process; its public API reads it each time.
    settings = wandb_setup.singleton().settings
    url = str(os.environ.get("WANDB_BASE_URL") or settings.base_url).rstrip("/")
    return Server(url, *find_key(api_key, url), timeout, settings)


def find_state(run_id: str, project: str, entity: str | None) -> str | None:
    """Return W&B's state of a run, or None for an unknown run.

    Args:
        run_id: Id of the run.
        project: Project of the run.
        entity: Entity of the run; None is the default of the account.

    Raises:
        ServerError: The query failed.
    """
    server = find_server()
    entity = entity or server.default_entity()
    answer = server.ask("Run", RUN_STATE, entity=entity, project=project, name=run_id)
    run = ((answer.get("project") or {}).get("run")) or {}
    return str(run["state"]) if run.get("state") else None


def require_server(api_key: str | None = None) -> None:
    """Check that the server answers and accepts the key.

    The client's own calls need half a minute to fail.

    Raises:
        ServerError: The server does not answer, or refuses the key.
    """
    server = find_server(api_key)
    if server.has_token and not core_answers_queries():
        return
    if not server.has_token and (key_error := check_key(server.key, server.source, server.url)):
        msg = f"API key: {key_error.text}"
        raise ServerError(msg, key_error.remedy, about="key")
    if not server.ask("Viewer", VIEWER).get("viewer"):
        refusal = server.refusal("as unknown")
        raise refusal


def find_key(api_key: str | None, url: str) -> tuple[str | None, str]:
    """Return the API key and its origin.

    The order of the search is that of the manager and W&B: ``cfg.wandb``, the environment, netrc.
    """
    if api_key:
        return api_key, "cfg.wandb.api_key"
    if os.environ.get("WANDB_API_KEY"):
        return os.environ["WANDB_API_KEY"], "WANDB_API_KEY"
    try:
        login = netrc.netrc(os.environ.get("NETRC")).authenticators(urlsplit(url).netloc)
    except (OSError, netrc.NetrcParseError):
        login = None
    return (login[2] or None, "netrc") if login else (None, "")


def check_key(key: str | None, source: str, url: str) -> ServerError | None:
    """Return the error for a missing or malformed key, without showing it; None for a good key."""
    remedy = f"wandb login --host {url}, or set WANDB_API_KEY"
    if key is None:
        text = f"no key for {url} is in WANDB_API_KEY or netrc"
    elif len(key) < KEY_LENGTH:
        text = f"the one of {source} has {len(key)} characters; a key has at least {KEY_LENGTH}"
    elif key != key.strip():
        text = f"the one of {source} starts or ends with white space"
    else:
        return None
    return ServerError(text, remedy, about="key")
