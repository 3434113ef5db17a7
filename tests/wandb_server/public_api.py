"""What ``wandb.Api()`` asks about runs."""

from __future__ import annotations

import json
from urllib.parse import quote

from wandb_server.operations import Answer, Topic, Variables, answers, connection, run_node
from wandb_server.store import ENTITY, EVENTS, HISTORY, StoredRun


class PublicApi(Topic):
    """The operations of ``wandb.Api().run(path)`` and ``wandb.Api().runs(path)``."""

    @answers("Run", "RunState", "RunHistoryKeys")
    def run(self, variables: Variables) -> Answer:
        """Describe a run; null makes the client raise "Could not find run"."""
        run = self._run(variables)
        return {"project": {"run": run and self._node(run)}}

    @answers("Runs")
    def runs(self, variables: Variables) -> Answer:
        """Describe all runs of a project; filters and order are left to W&B."""
        place = variables.get("entity") or ENTITY, variables["project"]
        runs = [self._node(run) for run in self.store.runs.values() if (run.entity, run.project) == place]
        about = {"internalId": "1", "runCount": len(runs), "readOnly": False}
        return {"project": {**about, "runs": connection(runs)} if runs else None}

    @answers("RunFullHistory")
    def full_history(self, variables: Variables) -> Answer:
        """Return rows, and system metrics, for ``run.history()``."""
        run = self._run(variables)
        return {"project": {"run": run and {"history": run.history_lines, "events": run.stream(EVENTS).lines}}}

    @answers("HistoryPage")
    def history_page(self, variables: Variables) -> Answer:
        """Return the rows of a range of steps, for ``run.scan_history()``."""
        run = self.store.run(variables.get("entity"), variables["project"], variables["run"])
        steps = range(variables["minStep"], variables["maxStep"])
        lines = [line for line in run.history_lines if json.loads(line).get("_step") in steps] if run else []
        return {"project": {"run": run and {"history": lines}}}

    @answers("RunParquetHistory")
    def parquet_history(self, variables: Variables) -> Answer:
        """Say which rows are in files already, which a client asks before it reads rows: none."""
        run = self.store.run(variables.get("entity"), variables["project"], variables["runName"])
        steps = [{"_step": row["_step"]} for row in run.history] if run else []
        return {"project": {"run": run and {"parquetHistory": {"parquetUrls": [], "liveData": steps}}}}

    @answers("RunFiles")
    def files(self, variables: Variables) -> Answer:
        """List the files of a run."""
        run = self._run(variables)
        if run is None:
            return {"project": {"internalId": "1", "run": None}}
        names = [name for name in run.files if not variables.get("fileNames") or name in variables["fileNames"]]
        nodes = [self._file(run, name) for name in names]
        return {"project": {"internalId": "1", "run": {"fileCount": len(nodes), "files": connection(nodes)}}}

    @answers("RunSampledHistory")
    def sampled_history(self, variables: Variables) -> Answer:
        """Return the rows that have certain keys for ``run.history(keys=...)``, all of them."""
        run = self._run(variables)
        wanted = [set(json.loads(spec)["keys"]) for spec in variables["specs"]]
        rows = run.history if run else []
        sampled = [[{key: row[key] for key in keys} for row in rows if keys <= row.keys()] for keys in wanted]
        return {"project": {"run": run and {"sampledHistory": sampled}}}

    def _run(self, variables: Variables) -> StoredRun | None:
        return self.store.run(variables.get("entity"), variables["project"], variables["name"])

    def _file(self, run: StoredRun, name: str) -> Answer:
        link = f"{self.store.url}/storage/run/{run.entity}/{run.project}/{run.id}/{quote(name, safe='')}"
        facts = {"sizeBytes": len(run.file(name)), "mimetype": "text/plain", "updatedAt": None, "md5": None}
        return {"id": f"file-{name}", "name": name, "url": link, "directUrl": link, **facts}

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
