"""The web addresses of a training: of its run, or one of each node, of its project, group and sweep."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ultralytics_wb_ddp.distributed.topology import Topology, plan_nodes
from ultralytics_wb_ddp.runs.run_record import RECORD_FILE, RunRecord
from ultralytics_wb_ddp.wandb_client.run_state import get_run_dir, run_url, sync_command

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from ultralytics_wb_ddp.distributed.topology import RankPlan


MAIN_NODE_NAME = "worker-0"  # of rank 0


@dataclass(frozen=True)
class Links:
    """Where a training is to be seen. An address is None where there is no such thing, and offline.

    Attributes:
        run: Address of the run.
        project: Address of its project.
        group: Address of its group.
        sweep: Address of the sweep that it is a trial of.
        nodes: Address of each node's run by the node's name, such as ``"worker-1"``, where each has its own
            (``rank_scope="worker"`` on several nodes); with ``run_mode="new"`` that of the group of its ranks' runs.
        sync_command: Offline: the command that sends what is on disk. It prints the address.
    """

    run: str | None = None
    project: str | None = None
    group: str | None = None
    sweep: str | None = None
    nodes: Mapping[str, str] = field(default_factory=dict)
    sync_command: str | None = None

    @classmethod
    def of_run(cls, run: Any, nodes: Mapping[str, RankPlan] | None = None) -> Links:
        """Return the links of a ``wandb.Run``.

        Args:
            run: The run of the main process.
            nodes: The runs of all nodes, where each has its own.
        """
        if run.disabled:
            return cls()
        if run.offline:
            return cls(sync_command=sync_command(get_run_dir(run)))
        project = run.project_url
        url = run_url(run)
        addresses = {
            node: _page_url(project, "groups", plan.group) if plan.group else _page_url(project, "runs", plan.run_id)
            for node, plan in (nodes or {}).items()
        }
        if url and nodes and MAIN_NODE_NAME in nodes and not nodes[MAIN_NODE_NAME].group:
            addresses[MAIN_NODE_NAME] = url  # where the launcher has made it, its id is another one
        group = _page_url(project, "groups", run.group) if run.group else None
        return cls(url, project, group, run.sweep_url or None, addresses)

    @classmethod
    def of_launcher(cls, run: Any, run_mode: str, rank_scope: str) -> Links:
        """Return the links of the launcher's run and of the nodes' runs that will be derived from it.

        Args:
            run: The run.
            run_mode: Which ranks log.
            rank_scope: The same.
        """
        return cls.of_run(run, plan_nodes(Topology.from_env(), run_mode, rank_scope, run.id))

    @classmethod
    def of_training(cls, directory: str | os.PathLike[str]) -> Links:
        """Return the links of a training that has begun, from the ``wandb_run.json`` in its directory.

        Args:
            directory: Directory of the training, ``model.trainer.save_dir``.

        Raises:
            FileNotFoundError: It has no such file: nothing of this package has logged the training.
        """
        is_logged = Path(directory, RECORD_FILE).is_file()
        record = RunRecord.find(Path(directory), None) if is_logged else None
        if record is None:
            msg = f"{str(directory)!r} has no {RECORD_FILE}; give the directory of a training, model.trainer.save_dir"
            raise FileNotFoundError(msg)
        known = {item.name for item in fields(cls)}
        return cls(**{"run": record.url, **{name: value for name, value in record.links.items() if name in known}})

    def as_dict(self) -> dict[str, Any]:
        """Return what there is of them, as it stands in ``wandb_run.json``."""
        return {name: value for name, value in asdict(self).items() if value}

    def __str__(self) -> str:
        """Return them in one line; offline, the command that sends what is on disk."""
        several = [f"{node}: {url}" for node, url in self.nodes.items()]
        sweep = [f"sweep: {self.sweep}"] if self.sweep else []
        return ", ".join([*(several or ([self.run] if self.run else [])), *sweep]) or self.sync_command or ""


def _page_url(project: str, kind: str, name: str) -> str:
    """Return the address of a run or a group, as W&B writes it."""
    return f"{project}/{kind}/{quote(name, safe='=+&$@')}"
