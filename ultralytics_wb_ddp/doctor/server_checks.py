"""Check the W&B server: connection, API key, project and run."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.doctor.finding import CheckResult, error, ok, warning
from ultralytics_wb_ddp.wandb_client.server import RUN_STATE, VIEWER, Server, ServerError, check_key, find_key

if TYPE_CHECKING:
    from ultralytics_wb_ddp.doctor.finding import DoctorRequest
    from ultralytics_wb_ddp.doctor.plan import TrainingForecast


OFFLINE_REMEDY = "or train with WANDB_MODE=offline and send the run later with 'ultralytics-wb-ddp sync'"
PROJECT = """
query Runs($project: String!, $entity: String!) { project(name: $project, entityName: $entity) { runCount } }
"""


def check_server(request: DoctorRequest, plan: TrainingForecast, settings: Any) -> list[CheckResult]:
    """Check whether the run can be sent: API key, server, project, run."""
    if plan.mode != "online":
        return [ok("server", f"not asked, because the mode is {plan.mode}; no key is needed")]
    url = str(settings.base_url).rstrip("/")
    key, source = find_key(request.options.api_key, url)
    key_error = check_key(key, source, url)
    key_result = _with_offline_hint(_finding(key_error)) if key_error else ok("key", f"found in {source}")
    findings = [] if getattr(settings, "identity_token_file", None) else [key_result]
    usable = key if all(finding.status == "ok" for finding in findings) else None
    server = Server(url, usable, source, request.timeout, settings)
    try:
        viewer = server.ask("Viewer", VIEWER).get("viewer")
    except ServerError as problem:
        is_known = usable is None and problem.about == "key"  # without a key the server may refuse the request
        return [*findings, ok("server", f"{url} answers") if is_known else _server_result(problem)]
    if not viewer:
        return [*findings, _server_result(server.refusal("as unknown")) if usable else ok("server", f"{url} answers")]
    entity = plan.entity or viewer.get("entity") or ""
    findings.append(ok("server", f"{url} answers and takes the key; the default entity is {viewer.get('entity')}"))
    try:
        findings += _check_project(server, plan, entity)
        findings += _check_run(server, plan, entity)
    except ServerError as problem:
        findings.append(_server_result(problem))
    return findings


def _server_result(problem: ServerError) -> CheckResult:
    return _with_offline_hint(_finding(problem)) if problem.about == "server" else _finding(problem)


def _finding(problem: ServerError) -> CheckResult:
    return CheckResult(problem.about, problem.status, problem.text, problem.remedy)


def _with_offline_hint(finding: CheckResult) -> CheckResult:
    return replace(finding, remedy=f"{finding.remedy}; {OFFLINE_REMEDY}") if finding.status == "error" else finding


def _check_project(server: Server, plan: TrainingForecast, entity: str) -> list[CheckResult]:
    project = server.ask("Runs", PROJECT, project=plan.project, entity=entity).get("project")
    name = f"{entity}/{plan.project}"
    return [ok("project", f"{name} exists" if project else f"{name} does not exist yet; the run creates it")]


def _check_run(server: Server, plan: TrainingForecast, entity: str) -> list[CheckResult]:
    """Check that the run to continue exists and is not open elsewhere."""
    if plan.run_id is None:
        return []
    project = server.ask("Run", RUN_STATE, project=plan.project, entity=entity, name=plan.run_id).get("project") or {}
    run, name = project.get("run"), f"{entity}/{plan.project}/{plan.run_id}"
    if not run:
        text = f"run not found: {name}"
        if plan.named_by_handoff:
            return [error("run", text, "check entity, project and server: the process that started this one had it")]
        return [warning("run", f"{text}; a new run of this id is created", "check id, project and entity")]
    if run.get("state") != "running" or plan.action == "attach":
        return [ok("run", f"{name} exists; it is {run.get('state')}")]
    text = f"run still open elsewhere: {name} is running{_heartbeat_age(run.get('heartbeatAt'))}"
    remedy = "finish it there first, or wait until W&B counts it as crashed; two sessions write over each other's rows"
    return [warning("run", text, remedy)]


def _heartbeat_age(heartbeat: Any) -> str:
    try:
        last_heartbeat = datetime.fromisoformat(str(heartbeat).removesuffix("Z"))
    except ValueError:
        return ""
    last_heartbeat = last_heartbeat if last_heartbeat.tzinfo else last_heartbeat.replace(tzinfo=timezone.utc)
    seconds = max(0, int((datetime.now(timezone.utc) - last_heartbeat).total_seconds()))
    ago = f"{seconds} s" if seconds < 120 else f"{seconds // 60} min"  # noqa: PLR2004  # two minutes
    return f", last heard of {ago} ago"
