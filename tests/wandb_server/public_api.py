"""What ``wandb.Api()`` asks about runs."""

from __future__ import annotations

import json

from wandb_server.operations import Answer, Asked, Topic, answers, connection, run_node
from wandb_server.store import ENTITY, EVENTS, HISTORY, StoredRun


class PublicApi(Topic):
    """The operations of ``wandb.Api().run(path)`` and ``wandb.Api().runs(path)``."""

    @answers("Run", "RunState", "RunHistoryKeys")
    def run(self, asked: Asked) -> Answer:
        """Describe a run; null makes the client raise "Could not find run"."""
        run = self._run(asked)
        return {"project": {"run": run and self._node(run)}}

    @answers("Runs")
    def runs(self, asked: Asked) -> Answer:
        """Describe all runs of a project; filters and order are left to W&B."""
        place = asked.get("entity") or ENTITY, asked["project"]
        runs = [self._node(run) for run in self.store.runs.values() if (run.entity, run.project) == place]
        about = {"internalId": "1", "runCount": len(runs), "readOnly": False}
        return {"project": {**about, "runs": connection(runs)} if runs else None}

    @answers("RunFullHistory")
    def full_history(self, asked: Asked) -> Answer:
        """Return rows, and system metrics, for ``run.history()``."""
        run = self._run(asked)
        return {"project": {"run": run and {"history": run.history_lines, "events": run.stream(EVENTS).lines}}}

    @answers("RunSampledHistory")
    def sampled_history(self, asked: Asked) -> Answer:
        """Return the rows that have certain keys for ``run.history(keys=...)``, all of them."""
        run = self._run(asked)
        wanted = [set(json.loads(spec)["keys"]) for spec in asked["specs"]]
        rows = run.history if run else []
        sampled = [[{key: row[key] for key in keys} for row in rows if keys <= row.keys()] for keys in wanted]
        return {"project": {"run": run and {"sampledHistory": sampled}}}

    def _run(self, asked: Asked) -> StoredRun | None:
        return self.store.run(asked.get("entity"), asked["project"], asked["name"])

    def _node(self, run: StoredRun) -> Answer:
        lag = self.store.count_lag
        steps = [row["_step"] for row in run.history if "_step" in row]
        heartbeat = run.heartbeat or run.created
        return {
            **run_node(run),
            "projectId": "1",
            "displayName": run.fields.get("displayName") or run.id,
            "tags": run.fields.get("tags") or [],
            "notes": run.fields.get("notes"),
            "group": run.fields.get("groupName"),
            "jobType": run.fields.get("jobType"),
            "description": None,
            "state": run.state,
            "sweepName": run.sweep,
            "commit": None,
            "readOnly": False,
            "user": {"name": "Tester", "username": "tester"},
            "createdAt": run.created.isoformat(),
            "heartbeatAt": heartbeat.isoformat(),
            "config": json.dumps(run.config),
            "summaryMetrics": json.dumps(run.summary_before(lag)),
            "systemMetrics": "{}",
            "historyLineCount": run.count(HISTORY, lag),
            "historyKeys": {"lastStep": max(steps, default=-1), "keys": {}, "sets": []},
        }
