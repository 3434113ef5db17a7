"""How an artifact is linked to a portfolio of a project, or to a collection of a registry, which is a project, too: its
name begins with ``wandb-registry-`` and its entity is that of an organization, for which the client asks first."""

from __future__ import annotations

from wandb_server.operations import Answer, Refused, Topic, Variables, answers
from wandb_server.store import ORGANIZATION


class Registry(Topic):
    """The operations of ``run.link_artifact()``."""

    @answers("FetchOrgInfoFromEntity", "FetchOrgEntityFromEntity")
    def organization(self, _: Variables) -> Answer:
        """Say which organization an entity belongs to: all to the same."""
        organization = {"name": "The Organization", "orgEntity": {"name": ORGANIZATION}}
        return {"entity": {"organization": organization, "user": None}}

    @answers("LinkArtifact")
    def link(self, variables: Variables) -> Answer:
        """Make an artifact the next version of a collection, which is made if there is none."""
        artifact = self.store.artifacts.get(variables["artifactID"])
        if artifact is None or artifact.state != "COMMITTED":
            message = f"artifact {variables['artifactID']} not found"
            raise Refused(message)
        place = variables["entityName"], variables["projectName"], variables["artifactPortfolioName"]
        linked = self.store.links.setdefault(place, [])
        if {other.type for other in linked} - {artifact.type}:
            message = f"a collection of type {linked[0].type} does not take an artifact of type {artifact.type}"
            raise Refused(message)
        if artifact not in linked:
            linked.append(artifact)
        return {
            "linkArtifact": {"versionIndex": linked.index(artifact)},
            "result": {"versionIndex": linked.index(artifact)},
        }
