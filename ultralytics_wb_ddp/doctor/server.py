"""The W&B server: whether it is there, takes the key, and what it knows of project and run.

It is asked directly, with one request for each question and a limit in time: the client's own calls repeat what
fails, for minutes in some releases, and report a server in trouble and one that is away in the same words.
"""

from __future__ import annotations

import netrc
import os
import re
import threading
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ultralytics_wb_ddp.doctor.finding import Finding, error, ok, warning
from ultralytics_wb_ddp.errors import ExplainedError

if TYPE_CHECKING:
    from ultralytics_wb_ddp.doctor.finding import Request
    from ultralytics_wb_ddp.doctor.plan import Plan

__all__ = ["VIEWER", "Server", "Trouble", "check_server", "find_server", "require_server"]

KEY_LENGTH = 40
UNAUTHORIZED, FORBIDDEN, FAILURE = 401, 403, 400
OFFLINE = "or train with WANDB_MODE=offline and send the run later with 'wandb sync'"

VIEWER = "query Viewer { viewer { id entity } }"
PROJECT = """
query Runs($project: String!, $entity: String!) { project(name: $project, entityName: $entity) { runCount } }
"""
RUN = """
query Run($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { id name state heartbeatAt } }
}
"""


class Trouble(ExplainedError):  # noqa: N818  # it carries a finding
    """A question that got no answer."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(f"{finding.message}; {finding.remedy}")
        self.finding = finding


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
            raise Trouble(error("server", text, "check network and proxy"))
        if isinstance(answers[0], Exception):
            text = f"{self.url} cannot be reached: {_root_cause(answers[0])}"
            raise Trouble(error("server", text, "check network, proxy and WANDB_BASE_URL"))
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
            raise Trouble(self.refusal(f"with status {answer.status_code}"))
        if answer.status_code >= FAILURE:
            text = f"{self.url} answers with status {answer.status_code}"
            raise Trouble(error("server", text, "check WANDB_BASE_URL and the server's state"))
        try:
            content = answer.json()
            problems, data = content.get("errors"), content.get("data")
        except (ValueError, AttributeError):
            text = f"{self.url} answers, but not as a W&B server"
            raise Trouble(error("server", text, "check WANDB_BASE_URL and the proxy")) from None
        if problems or not isinstance(data, dict):
            text = f"{self.url} does not answer the question {operation}"
            raise Trouble(warning("server", text, "look at project and run in the browser"))
        return data

    def refusal(self, how: str) -> Finding:
        """Return the finding that the key is of no use here."""
        login = f"wandb login --relogin --host {self.url}"
        change = {
            "WANDB_API_KEY": f"correct WANDB_API_KEY, or unset it and call: {login}",
            "cfg.wandb.api_key": "correct cfg.wandb.api_key",
        }
        remedy = f"{change.get(self.source, login)}; it must be a key of the account that the run belongs to"
        return error("key", f"{self.url} refuses the key {how}", remedy)


def check_server(request: Request, plan: Plan, settings: Any) -> list[Finding]:
    """Look whether the run can be sent: key, server, project, run."""
    if plan.mode != "online":
        return [ok("server", f"not asked, because the mode is {plan.mode}; no key is needed")]
    url = str(settings.base_url).rstrip("/")
    key, source = find_key(request.options.api_key, url)
    findings = [] if getattr(settings, "identity_token_file", None) else [_or_offline(_check_key(key, source, url))]
    usable = key if all(finding.status == "ok" for finding in findings) else None
    server = Server(url, usable, source, request.timeout)
    try:
        viewer = server.ask("Viewer", VIEWER).get("viewer")
    except Trouble as trouble:
        is_known = usable is None and trouble.finding.check == "key"  # asked without a key, it may well refuse
        return [*findings, ok("server", f"{url} answers") if is_known else _told(trouble)]
    if not viewer:
        return [*findings, server.refusal("as unknown") if usable else ok("server", f"{url} answers")]
    entity = plan.entity or viewer.get("entity") or ""
    findings.append(ok("server", f"{url} answers and takes the key; the default entity is {viewer.get('entity')}"))
    try:
        findings += _check_project(server, plan, entity)
        findings += _check_run(server, plan, entity)
    except Trouble as trouble:
        findings.append(_told(trouble))
    return findings


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
    key = _check_key(server.key, server.source, server.url)
    if key.status != "ok":
        raise Trouble(replace(key, message=f"API key: {key.message}"))
    if not server.ask("Viewer", VIEWER).get("viewer"):
        raise Trouble(server.refusal("as unknown"))


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


def _check_key(key: str | None, source: str, url: str) -> Finding:
    """Look whether there is a key that may be one; it is never shown."""
    remedy = f"wandb login --host {url}, or set WANDB_API_KEY"
    if key is None:
        return error("key", f"there is none for {url}, neither in WANDB_API_KEY nor in netrc", remedy)
    if len(key) < KEY_LENGTH:
        text = f"the one of {source} has {len(key)} characters; a key has at least {KEY_LENGTH}"
        return error("key", text, remedy)
    if key != key.strip():
        return error("key", f"the one of {source} starts or ends with white space", remedy)
    return ok("key", f"found in {source}")


def _told(trouble: Trouble) -> Finding:
    """Return what a question that got no answer means for a training."""
    return _or_offline(trouble.finding) if trouble.finding.check == "server" else trouble.finding


def _or_offline(finding: Finding) -> Finding:
    """Add what a training can do without a server."""
    return replace(finding, remedy=f"{finding.remedy}; {OFFLINE}") if finding.status == "error" else finding


def _check_project(server: Server, plan: Plan, entity: str) -> list[Finding]:
    found = server.ask("Runs", PROJECT, project=plan.project, entity=entity).get("project")
    name = f"{entity}/{plan.project}"
    return [ok("project", f"{name} exists" if found else f"{name} does not exist yet; the run makes it")]


def _check_run(server: Server, plan: Plan, entity: str) -> list[Finding]:
    """Look at the run that is to be continued: whether it exists, and whether somebody has it open."""
    if plan.run_id is None:
        return []
    found = server.ask("Run", RUN, project=plan.project, entity=entity, name=plan.run_id).get("project") or {}
    run, name = found.get("run"), f"{entity}/{plan.project}/{plan.run_id}"
    if not run:
        text = f"run not found: {name}"
        if plan.named_by_handoff:
            return [error("run", text, "check entity, project and server: the process that started this one had it")]
        return [warning("run", f"{text}; a new run of this id is made", "check id, project and entity")]
    if run.get("state") != "running" or plan.how == "attach":
        return [ok("run", f"{name} exists; it is {run.get('state')}")]
    text = f"run still open elsewhere: {name} is running{_heard(run.get('heartbeatAt'))}"
    remedy = "finish it there first, or wait until W&B counts it as crashed; two sessions write over each other's rows"
    return [warning("run", text, remedy)]


def _heard(heartbeat: Any) -> str:
    """Return when a run was last heard of, in words."""
    try:
        heard = datetime.fromisoformat(str(heartbeat).removesuffix("Z"))
    except ValueError:
        return ""
    heard = heard if heard.tzinfo else heard.replace(tzinfo=timezone.utc)
    seconds = max(0, int((datetime.now(timezone.utc) - heard).total_seconds()))
    ago = f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"  # noqa: PLR2004  # two minutes
    return f", last heard of {ago} ago"


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
