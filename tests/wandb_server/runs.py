"""How a run is opened, resumed, described and stopped. Its rows come by the file stream, see ``server``."""

from __future__ import annotations

import json
import time
from datetime import datetime, timezone
from typing import Any

from wandb_server.operations import Answer, Refused, Topic, Variables, answers, project_node, run_node
from wandb_server.store import CONSOLE, ENTITY, EVENTS, HISTORY, PROJECT, SUMMARY, StoredRun

FIELDS = ("displayName", "groupName", "jobType", "tags", "notes")


class Runs(Topic):
    """The operations of a session: a client that has a run open."""

    @answers("UpsertBucket")
    def upsert(self, variables: Variables) -> Answer:
        """Make a run or update it.

        A session says this once when it opens its run, and then some seconds after each change of name, tags, config
        and the like. What it does not give stays, but the config is always the whole config. Without ``resume`` a
        session does not ask whether the run exists: it takes it, and learns from ``historyLineCount`` where to write.
        """
        if variables.get("id"):
            run, inserted = self.store.run_of_storage_id(variables["id"]), False
        else:
            run, inserted = self._take(variables)
        if is_opening(variables):
            run.sessions += 1
            run.state, run.exit_code, run.preempting, run.stopped = "running", None, False, False
        run.fields.update({key: variables[key] for key in FIELDS if variables.get(key)})
        run.sweep = variables.get("sweep") or run.sweep
        if variables.get("config"):
            run.config = json.loads(variables["config"])
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    @answers("RunResumeStatus")
    def resume_status(self, variables: Variables) -> Answer:
        """Say where a run stands; whoever resumes asks before opening it, and goes on from there.

        Rows are counted late, so a session that resumes too soon is told an old count and destroys rows.
        """
        entity, project = variables.get("entity") or ENTITY, variables.get("project") or PROJECT
        run = self.store.run(entity, project, variables["name"])
        return {"model": {**project_node(entity, project), "bucket": run and self._resumable(run)}}

    @answers("StopRun")
    def stop(self, variables: Variables) -> Answer:
        """Press Stop, as ``wandb.Api().run(...).stop()`` does."""
        self.store.run_of_storage_id(variables["id"]).stopped = True
        return {"stopRun": {"success": True}}

    @answers("CreateRunFiles")
    def create_files(self, variables: Variables) -> Answer:
        """Say where to upload files of a run; the service's links point to a storage that asks for no API key."""
        run = self.store.run(variables.get("entity"), variables.get("project"), variables["run"])
        if run is None:
            message = f"run {variables['run']} not found"
            raise Refused(message)
        place = f"{self.store.url}/storage/run/{run.entity}/{run.project}/{run.id}"
        files = [{"name": name, "uploadUrl": f"{place}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": run.storage_id, "uploadHeaders": [], "files": files}}

    def _take(self, variables: Variables) -> tuple[StoredRun, bool]:
        """Return the run of this name and whether it is new."""
        key = variables.get("entity") or ENTITY, variables.get("project") or PROJECT, variables["name"]
        inserted = key not in self.store.runs
        if inserted:
            entity, project, run_id = key
            self.store.runs[key] = StoredRun(run_id, project, entity, datetime.now(timezone.utc))
        return self.store.runs[key], inserted

    def _bucket(self, run: StoredRun) -> Answer:
        return {
            **run_node(run),
            "displayName": run.fields.get("displayName") or run.id,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": run.sweep,
            "historyLineCount": run.count(HISTORY, self.store.count_lag),
        }

    def _resumable(self, run: StoredRun) -> Answer:
        lag = self.store.count_lag
        bucket = self._bucket(run)
        return {
            **bucket,
            "eventsLineCount": run.count(EVENTS, lag),
            "logLineCount": run.count(CONSOLE, lag),
            "summaryMetrics": json.dumps(run.summary_before(lag)),
            "historyTail": json.dumps(run.history_lines[: bucket["historyLineCount"]][-1:]),
            "eventsTail": "[]",
            "tags": run.fields.get("tags") or [],
            "notes": run.fields.get("notes"),
            "wandbConfig": json.dumps(run.config.get("_wandb", {}).get("value", {})),
        }


def is_opening(variables: Variables) -> bool:
    """Return whether an upsert is a session's first: one with everything that names no writer in the config yet.

    Later ones do, under ``_wandb.e``; those that change nothing but the config do not repeat the host.
    """
    config = json.loads(variables.get("config") or "{}")
    return bool(variables.get("host") and config) and not config.get("_wandb", {}).get("value", {}).get("e")


def take_file_stream(run: StoredRun, post: dict[str, Any], writer: str) -> Answer:
    """Take a post to the file stream: lines at an offset, the whole summary, and how the session is doing.

    A client posts at once, then every 15 seconds, which is also its heartbeat, and at its end with ``complete``. In
    shared mode each writer counts its lines for itself, and only the primary one ends the run.
    """
    run.heartbeat = datetime.now(timezone.utc)
    for name, part in (post.get("files") or {}).items():
        if name == SUMMARY:
            others = run.summary if writer else {}
            run.summaries.append((time.monotonic(), {**others, **json.loads(part["content"][-1])}))
        else:
            run.stream(name, writer, part["offset"]).write(part["offset"], part["content"])
    if post.get("preempting"):
        run.preempting, run.state = True, "preempting"
    if post.get("complete"):
        run.exit_code = post.get("exitcode", 0)
        failed = "preempted" if run.preempting else "failed"
        run.state = failed if run.exit_code else "finished"
    return {"stopped": True} if run.stopped else {}
