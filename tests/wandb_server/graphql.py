"""The backend's answers to the client's GraphQL operations, by operation name. Unknown operations are errors, which
the client takes for a server that is older than it."""

from __future__ import annotations

import base64
import json
from typing import Any

from wandb_server.store import StoredArtifact, StoredRun

ENTITY = "team"


class Backend:
    """The runs of one server.

    Attributes:
        runs: Runs by id.
        uploads: Uploaded bytes by path.
        count_lag: Seconds by which line counts lag behind what arrived; the service's do by 2 to 4.
        operations: Names of all operations that were asked for, in order.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.runs: dict[str, StoredRun] = {}
        self.artifacts: dict[str, StoredArtifact] = {}
        self.uploads: dict[str, bytes] = {}
        self.count_lag = 0.0
        self.operations: list[str] = []

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the body of an answer."""
        self.operations.append(operation)
        method = getattr(self, f"on_{operation}", None)
        if method is None:
            return {"errors": [{"message": f"unknown operation {operation}"}]}
        return {"data": method(variables)}

    # The account and the server

    def on_Viewer(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802  # the operation's name
        viewer = {"id": "user", "entity": ENTITY, "username": "tester", "email": "", "flags": "{}"}
        return {"viewer": {**viewer, "teams": {"edges": []}}}

    def on_ServerFeaturesQuery(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"serverInfo": {"features": []}}

    # Runs

    def on_UpsertBucket(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run_id = variables.get("name")
        if variables.get("id"):
            run_id = base64.b64decode(variables["id"]).decode().removeprefix("run:")
        inserted = run_id not in self.runs
        if inserted:
            storage_id = base64.b64encode(f"run:{run_id}".encode()).decode()
            self.runs[run_id] = StoredRun(run_id, storage_id, variables.get("project") or "uncategorized")
        run = self.runs[run_id]
        given = {"displayName", "groupName", "jobType", "tags", "notes"}
        run.fields.update({key: variables[key] for key in given if variables.get(key)})
        if variables.get("config"):
            run.config = json.loads(variables["config"])
        return {"upsertBucket": {"bucket": self._bucket(run), "inserted": inserted}}

    def on_RunResumeStatus(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.runs.get(variables["name"])
        if run is None:
            return {
                "model": {"id": "project", "name": variables.get("project"), "entity": {"name": ENTITY}, "bucket": None}
            }
        run.state, run.exit_code = "running", None
        history = run.stream("wandb-history.jsonl")
        counts = {
            name: run.stream(file).count(self.count_lag)
            for name, file in (
                ("historyLineCount", "wandb-history.jsonl"),
                ("eventsLineCount", "wandb-events.jsonl"),
                ("logLineCount", "output.log"),
            )
        }
        seen = counts["historyLineCount"]
        bucket = {
            **self._bucket(run),
            **counts,
            "summaryMetrics": json.dumps(run.summary_before(self.count_lag)),
            "historyTail": json.dumps(history.lines[:seen][-1:]),
            "eventsTail": "[]",
            "config": json.dumps(run.config),
            "tags": run.fields.get("tags") or [],
            "notes": run.fields.get("notes"),
            "wandbConfig": json.dumps(run.config.get("_wandb", {}).get("value", {})),
        }
        return {"model": {"id": "project", "name": run.project, "entity": {"name": ENTITY}, "bucket": bucket}}

    def on_CreateRunFiles(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.runs[variables["run"]]
        run.files += [name for name in variables["files"] if name not in run.files]
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run.id}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": run.storage_id, "uploadHeaders": [], "files": files}}

    def _bucket(self, run: StoredRun) -> dict[str, Any]:
        project = {"id": "project", "name": run.project, "entity": {"id": "entity", "name": ENTITY}}
        return {
            "id": run.storage_id,
            "name": run.id,
            "displayName": run.fields.get("displayName") or run.id,
            "description": None,
            "config": json.dumps(run.config),
            "sweepName": None,
            "project": project,
            "historyLineCount": run.stream("wandb-history.jsonl").count(self.count_lag),
        }

    # Artifacts

    def on_ArtifactType(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        del variables  # of what type an artifact of this name is: none is known yet
        return {"project": {"artifact": None}}

    def on_CreateArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        values = variables.get("input", variables)
        artifact_id = f"artifact-{len(self.artifacts)}"
        names = values.get("artifactCollectionNames") or [values.get("artifactCollectionName")]
        aliases = [alias["alias"] for alias in values.get("aliases") or []]
        artifact = StoredArtifact(artifact_id, names[0], values.get("artifactTypeName", ""), values["digest"], aliases)
        self.artifacts[artifact_id] = artifact
        self.runs[values["runName"]].artifacts.append(artifact)
        described = {
            "id": artifact_id,
            "state": artifact.state,
            "artifactSequence": {"id": "s", "latestArtifact": None},
        }
        return {"createArtifact": {"artifact": described}}

    def on_CreateArtifactManifest(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        values = variables.get("input", variables)
        artifact_id = values.get("artifactID") or values.get("artifactId")
        url = f"{self.url}/upload/{artifact_id}/manifest"
        file = {"id": "file", "displayName": "manifest", "uploadUrl": url, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{artifact_id}", "file": file}}}

    def on_CreateArtifactFiles(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        edges = [
            {
                "node": {
                    "id": f"file-{number}",
                    "name": entry["name"],
                    "displayName": entry["name"],
                    "storagePath": f"{entry['artifactID']}/{entry['name']}",
                    "uploadUrl": f"{self.url}/upload/{entry['artifactID']}/{entry['name']}",
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": entry["artifactID"]},
                }
            }
            for number, entry in enumerate(variables.get("input", variables)["artifactFiles"])
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def on_CommitArtifact(self, variables: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        values = variables.get("input", variables)
        artifact = self.artifacts[values.get("artifactID") or values.get("artifactId")]
        artifact.state = "COMMITTED"
        artifact.manifest = json.loads(self.uploads[f"{artifact.id}/manifest"])["contents"]
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}
