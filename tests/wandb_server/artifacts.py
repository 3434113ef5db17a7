"""How an artifact is logged, found, downloaded and used.

To log one, a client asks in this order: CreateArtifact; CreateArtifactManifest, for the id; CreateArtifactFiles, unless
all entries are references; the uploads of the files; CreateArtifactManifest again, for the place; the upload of the
manifest; CommitArtifact.
"""

from __future__ import annotations

import base64
import json

from wandb_server.operations import Answer, Refused, Topic, Variables, answers, connection, project_node
from wandb_server.store import ENTITY, PROJECT, StoredArtifact, StoredRun

CREATED = "2026-01-01T00:00:00Z"


class Artifacts(Topic):
    """The operations about artifacts."""

    # Logging

    @answers("ArtifactType")
    def type(self, variables: Variables) -> Answer:
        """Say of what type the artifacts of a name are: a client refuses to log one of another type."""
        name = variables["name"].partition(":")[0]
        versions = self._versions(variables.get("entity"), variables.get("project"), name)
        return {"project": {"artifact": {"artifactType": {"name": versions[-1].type}} if versions else None}}

    @answers("CreateArtifact")
    def create(self, variables: Variables) -> Answer:
        """Make an artifact, or return the one of the same content: the client then uploads nothing."""
        # A client that makes an artifact to use it names no run: it is that run's input and nobody's output.
        run = self._run(variables) if variables.get("runName") else None
        entity, project = variables["entityName"], variables["projectName"]
        name = variables["artifactCollectionName"]
        aliases = [alias["alias"] for alias in variables.get("aliases") or []]
        versions = self._versions(entity, project, name)
        artifact = next((version for version in versions if version.digest == variables["digest"]), None)
        if artifact is None:
            artifact_id = base64.b64encode(f"Artifact:{len(self.store.artifacts):06}".encode()).decode()
            place = entity, project, name, variables["artifactTypeName"]
            artifact = StoredArtifact(
                artifact_id, *place, variables["digest"], aliases, metadata=variables.get("metadata")
            )
            self.store.artifacts[artifact.id] = artifact
        else:
            self._point(artifact, aliases)
        if run and artifact not in run.artifacts:
            run.artifacts.append(artifact)
        sequence = {"id": f"sequence-{name}", "latestArtifact": {"id": versions[-1].id} if versions else None}
        return {
            "createArtifact": {"artifact": {"id": artifact.id, "state": artifact.state, "artifactSequence": sequence}}
        }

    @answers("CreateArtifactManifest")
    def create_manifest(self, variables: Variables) -> Answer:
        """Say where to upload the manifest."""
        artifact = self._artifact(variables["artifactID"])
        link = {"uploadUrl": self._link(artifact, "manifest"), "uploadHeaders": []}
        file = {"id": f"manifest-file-{artifact.id}", "displayName": variables["name"], **link}
        return {"createArtifactManifest": {"artifactManifest": {"id": f"manifest-{artifact.id}", "file": file}}}

    @answers("CreateArtifactFiles")
    def create_files(self, variables: Variables) -> Answer:
        """Say where to upload files, in the order in which they are asked for."""
        nodes = []
        for number, entry in enumerate(variables["artifactFiles"]):
            artifact, name = self._artifact(entry["artifactID"]), entry["name"]
            node = {"id": f"file-{number}", "name": name, "displayName": name, "artifact": {"id": artifact.id}}
            link = {"uploadUrl": self._link(artifact, f"files/{name}"), "uploadHeaders": []}
            nodes.append({**node, **link, "storagePath": f"{artifact.id}/{name}", "uploadMultipartUrls": None})
        return {"createArtifactFiles": {"files": connection(nodes)}}

    @answers("CommitArtifact")
    def commit(self, variables: Variables) -> Answer:
        """Make an artifact the next version of its name, now that all of it is here."""
        artifact = self._artifact(variables["artifactID"])
        if artifact.state != "COMMITTED":
            artifact.version = self._next_version(artifact)
            artifact.state = "COMMITTED"
            artifact.manifest = json.loads(artifact.uploads["manifest"])["contents"]
            self._point(artifact, artifact.aliases)
        return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}

    # Using

    @answers("ArtifactMembershipByName")
    def membership(self, variables: Variables) -> Answer:
        """Find an artifact by its name and an alias or version."""
        artifact = self._find(variables, variables["name"])
        membership = artifact and self._membership(artifact)
        return {"project": {"artifactCollectionMembership": membership or self._linked(variables)}}

    @answers("ArtifactByID")
    def by_id(self, variables: Variables) -> Answer:
        """Describe an artifact; ``Artifact.wait()`` asks once it is logged."""
        return {"artifact": self._node(self._artifact(variables["id"]))}

    @answers("UseArtifact")
    def use(self, variables: Variables) -> Answer:
        """Note that a run uses an artifact."""
        run, artifact = self._run(variables), self._artifact(variables["artifactID"])
        if artifact not in run.used_artifacts:
            run.used_artifacts.append(artifact)
        return {"useArtifact": {"artifact": {"id": artifact.id}}}

    @answers("RunOutputArtifacts")
    def outputs(self, variables: Variables) -> Answer:
        """List the artifacts that a run has logged and that are complete."""
        run = self.store.run(
            variables.get("entity"), variables.get("project"), variables.get("runName") or variables.get("run")
        )
        nodes = [self._node(each) for each in run.artifacts if each.state == "COMMITTED"] if run else []
        return {"project": {"run": run and {"artifacts": connection(nodes)}}}

    @answers("RunInputArtifacts")
    def inputs(self, variables: Variables) -> Answer:
        """List what a run uses."""
        run = self.store.run(variables["entity"], variables["project"], variables["run"])
        return {
            "project": {"run": run and {"artifacts": connection([self._node(each) for each in run.used_artifacts])}}
        }

    @answers("FetchArtifactManifest", "ArtifactManifest")
    def manifest(self, variables: Variables) -> Answer:
        """Say where the manifest is, which a download begins with."""
        artifact = self._artifact(variables.get("id") or variables["artifact_id"])
        return {"artifact": {"currentManifest": {"file": {"directUrl": self._link(artifact, "manifest")}}}}

    @answers("GetArtifactMembershipFileUrls")
    def file_urls(self, variables: Variables) -> Answer:
        """Say where the files are, and what references point to: the client gets each as the manifest says."""
        artifact = self._find(variables, f"{variables['collection']}:{variables['alias']}")
        if artifact is None:
            return {"project": {"artifactCollection": None}}
        collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": self._files(artifact)}}
        return {"project": {"artifactCollection": collection}}

    # Keeping and deleting

    @answers("ProjectArtifacts")
    def versions(self, variables: Variables) -> Answer:
        """List the versions of a name, the newest first."""
        versions = self._versions(variables.get("entity"), variables.get("project"), variables["collection"])[::-1]
        edges = [{"version": f"v{each.version}", "node": self._node(each)} for each in versions]
        page = {**connection([]), "totalCount": len(edges), "edges": edges}
        collection = {"__typename": "ArtifactSequence", "name": variables["collection"], "artifacts": page}
        return {"project": {"artifactType": {"artifactCollection": collection if versions else None}}}

    @answers("UpdateArtifact")
    def update(self, variables: Variables) -> Answer:
        """Change what is said of an artifact, such as how long it lives."""
        artifact = self._artifact(variables["artifactID"])
        if variables.get("ttlDurationSeconds") is not None:
            artifact.ttl_seconds = variables["ttlDurationSeconds"]
        answer = {"artifact": self._node(artifact)}
        return {"result": answer, "updateArtifact": answer}

    @answers("DeleteArtifact")
    def delete(self, variables: Variables) -> Answer:
        """Delete an artifact; one that has aliases only with them."""
        artifact = self._artifact(variables["artifactID"])
        if artifact.aliases and not variables["deleteAliases"]:
            message = f"artifact {artifact.id} has aliases: {', '.join(artifact.aliases)}"
            raise Refused(message)
        artifact.state = "DELETED"
        return {"result": {"artifact": {"id": artifact.id}}}

    # What is kept

    def _versions(self, entity: str | None, project: str | None, name: str) -> list[StoredArtifact]:
        place = entity or ENTITY, project, name
        same = [each for each in self.store.artifacts.values() if (each.entity, each.project, each.name) == place]
        return [artifact for artifact in same if artifact.state == "COMMITTED"]

    def _next_version(self, artifact: StoredArtifact) -> int:
        """Return the number of a new version; those of deleted ones are not used again."""
        place = artifact.entity, artifact.project, artifact.name
        same = [each for each in self.store.artifacts.values() if (each.entity, each.project, each.name) == place]
        return 1 + max((each.version for each in same if each.version is not None), default=-1)

    def _find(self, variables: Variables, name: str) -> StoredArtifact | None:
        name, _, alias = name.partition(":")
        versions = self._versions(variables.get("entity"), variables.get("project"), name)
        wanted = alias or "latest"
        return next((each for each in versions if wanted in {f"v{each.version}", *each.aliases}), None)

    def _point(self, artifact: StoredArtifact, aliases: list[str]) -> None:
        """Let aliases point at an artifact and at no other version."""
        for version in self._versions(artifact.entity, artifact.project, artifact.name):
            version.aliases = [alias for alias in version.aliases if alias not in aliases]
        artifact.aliases = [alias for alias in artifact.aliases if alias not in aliases] + aliases

    def _artifact(self, artifact_id: str) -> StoredArtifact:
        if artifact_id not in self.store.artifacts:
            message = f"artifact {artifact_id} not found"
            raise Refused(message)
        return self.store.artifacts[artifact_id]

    def _run(self, variables: Variables) -> StoredRun:
        run = self.store.run(variables["entityName"], variables["projectName"], variables["runName"])
        if run is None:
            message = f"run {variables['runName']} not found"
            raise Refused(message)
        return run

    # What is said about it

    def _link(self, artifact: StoredArtifact, name: str) -> str:
        return f"{self.store.url}/storage/artifact/{artifact.id}/{name}"

    def _files(self, artifact: StoredArtifact) -> Answer:
        entries = artifact.manifest.items()
        links = [(name, entry.get("ref") or self._link(artifact, f"files/{name}")) for name, entry in entries]
        return connection([{"__typename": "File", "name": name, "directUrl": link} for name, link in links])

    def _membership(self, artifact: StoredArtifact) -> Answer:
        """Describe the place of an artifact in its collection, which may be one of several that it is linked to."""
        node = self._node(artifact)
        return {
            "__typename": "ArtifactCollectionMembership",
            "id": f"membership-{artifact.id}",
            "versionIndex": artifact.version,
            "createdAt": CREATED,
            "aliases": node["aliases"],
            "artifactCollection": node["artifactSequence"],
            "artifact": node,
        }

    def _linked(self, variables: Variables) -> Answer | None:
        """Describe the place of an artifact in a collection that it was linked to."""
        name, _, version = variables["name"].partition(":")
        entity, project = variables.get("entity") or ENTITY, variables.get("project") or PROJECT
        linked = self.store.links.get((entity, project, name), [])
        index = len(linked) - 1 if version == "latest" else int(version.removeprefix("v"))
        if not 0 <= index < len(linked):
            return None
        place = {"__typename": "ArtifactPortfolio", "name": name, "project": project_node(entity, project)}
        return {**self._membership(linked[index]), "versionIndex": index, "artifactCollection": place, "aliases": []}

    def _node(self, artifact: StoredArtifact) -> Answer:
        project = project_node(artifact.entity, artifact.project)
        sequence = {"__typename": "ArtifactSequence", "name": artifact.name, "project": project}
        names = {"__typename": "ArtifactAlias", "artifactCollection": sequence}
        return {
            "__typename": "Artifact",
            "id": artifact.id,
            "artifactSequence": sequence,
            "versionIndex": artifact.version,
            "artifactType": {"name": artifact.type},
            "description": None,
            "metadata": artifact.metadata,
            "ttlDurationSeconds": artifact.ttl_seconds,
            "ttlIsInherited": artifact.ttl_seconds < 0,
            "tags": [],
            "historyStep": None,
            "state": artifact.state,
            "size": sum(entry.get("size", 0) for entry in artifact.manifest.values()),
            "digest": artifact.digest,
            "digestAlgorithm": "MANIFEST_MD5",
            "commitHash": None,
            "fileCount": len(artifact.manifest),
            "createdAt": CREATED,
            "updatedAt": None,
            "aliases": [{**names, "id": f"{artifact.id}-{alias}", "alias": alias} for alias in artifact.aliases],
        }
