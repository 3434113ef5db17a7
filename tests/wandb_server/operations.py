"""GraphQL without GraphQL: a client asks for operations by name, and the fields that it lists are known beforehand, so
an answer may simply hold all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from wandb_server.store import Store, StoredRun

Variables = dict[str, Any]
Answer = dict[str, Any]
Method = TypeVar("Method", bound=Callable[..., Answer])


class Refused(Exception):  # noqa: N818  # not a fault of the server
    """An operation is answered with an error, which clients report and do not repeat."""


def answers(*operations: str) -> Callable[[Method], Method]:
    """Mark a method as the answer to operations. It gets the variables, those in ``input`` among them."""

    def mark(method: Method) -> Method:
        method.operations = operations  # type: ignore[attr-defined]
        return method

    return mark


class Topic:
    """Answers to the operations about one topic."""

    def __init__(self, store: Store) -> None:
        self.store = store
        methods = [getattr(self, name) for name in dir(type(self)) if callable(getattr(type(self), name))]
        self.answers = {name: method for method in methods for name in getattr(method, "operations", ())}


def project_node(entity: str, name: str) -> Answer:
    """Return how the service describes a project."""
    entity_node = {"id": f"entity-{entity}", "name": entity}
    return {"id": f"project-{entity}-{name}", "internalId": "1", "name": name, "entity": entity_node}


def run_node(run: StoredRun) -> Answer:
    """Return how the service refers to a run."""
    project = project_node(run.entity, run.project)
    return {"__typename": "Run", "id": run.storage_id, "name": run.id, "project": project}


def connection(nodes: list[Answer]) -> Answer:
    """Return a list as GraphQL pages it: all of it, on one page."""
    page = {"__typename": "PageInfo", "hasNextPage": False, "endCursor": None}
    edges = [{"node": node, "cursor": str(number)} for number, node in enumerate(nodes)]
    return {"totalCount": len(nodes), "pageInfo": page, "edges": edges}
