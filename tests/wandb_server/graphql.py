"""Answers the client's GraphQL operations, by operation name. Unknown operations are errors, which the client takes for
a server that is older than it."""

from __future__ import annotations

from typing import Any

from wandb_server.artifacts import Artifacts
from wandb_server.operations import Answer, Refused, Topic, Variables, answers
from wandb_server.public_api import PublicApi
from wandb_server.registry import Registry
from wandb_server.runs import Runs
from wandb_server.store import ENTITY, Store, StoredRun
from wandb_server.sweeps import Sweeps


class Account(Topic):
    """Who asks, and what the server can do: what a client asks before anything else."""

    @answers("Viewer", "GetViewer", "GetDefaultEntity", "")
    def viewer(self, _: Variables) -> Answer:
        # The viewer's entity is where runs go whose client names none. "" is the nameless query by which wandb 0.28.1
        # verifies a key.
        viewer = {"id": "user", "name": "Tester", "username": "tester", "email": "", "entity": ENTITY}
        nothing: Answer = {"edges": []}
        more = {"admin": False, "flags": "{}", "deletedAt": None, "apiKeys": nothing, "teams": nothing}
        return {"viewer": {**viewer, **more}}

    @answers("ServerFeaturesQuery")
    def features(self, _: Variables) -> Answer:
        # A server without features gets the oldest dialect, e.g. plain lines for the console.
        return {"serverInfo": {"features": []}}


class Backend:
    """What one server keeps, and its answers.

    Attributes:
        store: What is kept.
        operations: Names of all operations that were answered, in order.
    """

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        self.operations: list[str] = []
        topics = [topic(self.store) for topic in (Account, Runs, Artifacts, Registry, Sweeps, PublicApi)]
        self._answers = {name: method for topic in topics for name, method in topic.answers.items()}

    @property
    def runs(self) -> dict[str, StoredRun]:
        """Runs by id; of several projects' runs of one id the last."""
        return {run.id: run for run in self.store.runs.values()}

    @property
    def count_lag(self) -> float:
        """Seconds by which line counts lag behind what arrived; the service's do by 2 to 4."""
        return self.store.count_lag

    @count_lag.setter
    def count_lag(self, seconds: float) -> None:
        self.store.count_lag = seconds

    def answer(self, operation: str, variables: dict[str, Any]) -> Answer:
        """Return the body of an answer."""
        self.operations.append(operation)
        method = self._answers.get(operation)
        if method is None:
            return {"errors": [{"message": f"unknown operation {operation}"}]}
        try:
            return {"data": method({**variables, **(variables.get("input") or {})})}
        except Refused as refusal:
            return {"errors": [{"message": str(refusal)}]}
