"""The runs of the nodes of a launch."""

from __future__ import annotations

from ultralytics_wb_ddp import RankPlan, Topology
from ultralytics_wb_ddp.distributed.topology import plan_nodes


def test_nodes_have_runs_of_their_own_in_worker_scope_only() -> None:
    place = Topology(3, 1, 4, 2, 1, 2)

    assert plan_nodes(place, "auto", "worker", "a") == {
        "worker-0": RankPlan("a-worker-0", label="worker-0"),
        "worker-1": RankPlan("a-worker-1", label="worker-1"),
    }
    assert plan_nodes(place, "new", "worker", "a")["worker-1"].within("mine").group == "mine"
    assert plan_nodes(place, "auto", "worker", "a")["worker-1"].within("mine").group is None
    assert plan_nodes(place, "auto", "global", "a") == {}
    assert plan_nodes(None, "auto", "worker", "a") == {}
    assert plan_nodes(Topology(0, 0, 2, 2, 0, 1), "auto", "worker", "a") == {}
