"""The web addresses of a training: its runs, project, group and sweep."""

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
    """The web addresses of a training.

    An address is None offline, and if its object does not exist.

    Attributes:
        run: Address of the run.
        project: Address of the run's project.
        group: Address of the run's group.
        sweep: Address of the sweep, if the run is a trial.
        nodes: Address of each node's run by the node's name, such as ``"worker-1"``, if each node has its own
            (``rank_scope="worker"`` on several nodes). With ``run_mode="new"``, the address of the group of the
            node's runs.
        sync_command: Offline, the command that sends the run. The command prints the address.
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
            nodes: The run plans of all nodes, if each node has its own run.
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
            addresses[MAIN_NODE_NAME] = url  # a run that the launcher created has another id
        group = _page_url(project, "groups", run.group) if run.group else None
        return cls(url, project, group, run.sweep_url or None, addresses)

    @classmethod
    def of_launcher(cls, run: Any, run_mode: str, rank_scope: str) -> Links:
        """Return the links of the launcher's run and the nodes' future runs.

        Args:
            run: The ``wandb.Run``.
            run_mode: The option that selects the logging ranks.
            rank_scope: The option that selects the logging ranks of each node.
        """
        return cls.of_run(run, plan_nodes(Topology.from_env(), run_mode, rank_scope, run.id))

    @classmethod
    def of_training(cls, directory: str | os.PathLike[str]) -> Links:
        """Return the links of a training from its run record, ``wandb_run.json``.

        Args:
            directory: Directory of the training, ``model.trainer.save_dir``.

        Raises:
            FileNotFoundError: The directory has no run record, because this package did not log the training.
        """
        is_logged = Path(directory, RECORD_FILE).is_file()
        record = RunRecord.find(Path(directory), None) if is_logged else None
        if record is None:
            msg = f"{str(directory)!r} has no {RECORD_FILE}; give the directory of a training, model.trainer.save_dir"
            raise FileNotFoundError(msg)
        known = {item.name for item in fields(cls)}
        return cls(**{"run": record.url, **{name: value for name, value in record.links.items() if name in known}})

    def as_dict(self) -> dict[str, Any]:
        """Return the existing links, as ``wandb_run.json`` holds them."""
        return {name: value for name, value in asdict(self).items() if value}

    def __str__(self) -> str:
        """Return the links in one line. Offline, return the command that sends the run."""
        nodes = [f"{node}: {url}" for node, url in self.nodes.items()]
        sweep = [f"sweep: {self.sweep}"] if self.sweep else []
        return ", ".join([*(nodes or ([self.run] if self.run else [])), *sweep]) or self.sync_command or ""


def _page_url(project: str, kind: str, name: str) -> str:
    """Return the web address of a run or group, in W&B's quoting."""
    return f"{project}/{kind}/{quote(name, safe='=+&$@')}"
