"""How a sweep hands out trials. The client sends the configuration once, then an agent asks every five seconds what to
do, and says which of its runs are still going. It makes each trial's run itself, under the id that it is given. A trial
that the sweep ends early is one that its agent is told to stop, each time that it asks."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import yaml  # type: ignore[import-untyped]  # every W&B client brings it: sweeps are configured in YAML

from wandb_server.operations import Answer, Refused, Topic, Variables, answers, project_node
from wandb_server.store import ENTITY, PROJECT, StoredSweep


class Sweeps(Topic):
    """The operations about sweeps. Methods are ``grid`` and, for every other, random choice."""

    @answers("UpsertSweep")
    def upsert(self, variables: Variables) -> Answer:
        """Make a sweep."""
        name = f"sweep{len(self.store.sweeps)}"
        entity, project = variables.get("entityName") or ENTITY, variables.get("projectName") or PROJECT
        self.store.sweeps[name] = StoredSweep(name, project, entity, yaml.safe_load(variables["config"]))
        sweep = {"name": name, "project": project_node(entity, project)}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    @answers("CreateAgent")
    def create_agent(self, variables: Variables) -> Answer:
        """Register an agent. Its id holds its sweep, which it does not name again."""
        sweep = self._sweep(variables["sweep"])
        sweep.agents.append(f"agent-{sweep.name}-{len(sweep.agents)}")
        return {"createAgent": {"agent": {"id": sweep.agents[-1]}}}

    @answers("Heartbeat")
    def heartbeat(self, variables: Variables) -> Answer:
        """Tell an agent what to do."""
        sweep = self._sweep(variables["id"].removeprefix("agent-").rpartition("-")[0])
        commands = self._commands(sweep, json.loads(variables.get("runState") or "{}"))
        return {"agentHeartbeat": {"agent": {"id": variables["id"]}, "commands": json.dumps(commands)}}

    @answers("GetSweepState")
    def state(self, variables: Variables) -> Answer:
        """Say whether a sweep still runs."""
        return {"project": {"sweep": {"state": self._sweep(variables["sweep"]).state}}}

    @answers("GetSweep", "GetSweepLegacy")
    def describe(self, variables: Variables) -> Answer:
        """Describe a sweep to ``wandb.Api().sweep(...)``; null makes the client raise "Could not find sweep"."""
        sweep = self.store.sweeps.get(variables["name"])
        if sweep is None:
            return {"project": {"sweep": None}}
        return {
            "project": {
                "sweep": {
                    "__typename": "Sweep",
                    "id": sweep.name,
                    "name": sweep.name,
                    "displayName": sweep.config.get("name"),
                    "method": sweep.config.get("method", "random"),
                    "state": sweep.state,
                    "description": None,
                    "bestLoss": None,
                    "config": yaml.safe_dump(sweep.config),
                    "createdAt": "2026-01-01T00:00:00Z",
                    "updatedAt": None,
                    "runCount": len(sweep.trials),
                    "runCountExpected": None,
                }
            }
        }

    def _sweep(self, name: str) -> StoredSweep:
        if name not in self.store.sweeps:
            message = f"sweep {name} not found"
            raise Refused(message)
        return self.store.sweeps[name]

    def _commands(self, sweep: StoredSweep, active: dict[str, bool]) -> list[dict[str, Any]]:
        runs = [self.store.run(sweep.entity, sweep.project, run_id) for run_id in active]
        stopped = [run.id for run in runs if run and (run.stopped or run.id in sweep.early)]
        if stopped:
            return [{"type": "stop", "run_id": run_id} for run_id in stopped]
        if sweep.state == "CANCELED" or (sweep.state != "RUNNING" and not active):
            return [{"type": "exit"}]
        if active:
            return []
        parameters = self._next(sweep)
        if parameters is None:
            sweep.state = "FINISHED"
            return [{"type": "exit"}]
        run_id = f"{sweep.name}-trial{len(sweep.trials)}"
        sweep.trials[run_id] = parameters
        values = {name: {"value": value} for name, value in parameters.items()}
        return [{"type": "run", "run_id": run_id, "program": sweep.config.get("program"), "args": values}]

    def _next(self, sweep: StoredSweep) -> dict[str, Any] | None:
        """Return the parameters of the next trial; None after the last of a grid."""
        parameters = sweep.config["parameters"]
        trial = len(sweep.trials)
        if sweep.config.get("method") != "grid":
            chance = random.Random(f"{sweep.name} {trial}")  # the same in each test run
            return {name: draw(parameter, chance) for name, parameter in parameters.items()}
        choices = [parameter.get("values", [parameter.get("value")]) for parameter in parameters.values()]
        grid = itertools.islice(itertools.product(*choices), trial, None)
        return next((dict(zip(parameters, values)) for values in grid), None)


def draw(parameter: dict[str, Any], chance: random.Random) -> Any:
    """Draw a value of a parameter: one of its values, or a number in its range."""
    if "min" not in parameter:
        return chance.choice(parameter.get("values", [parameter.get("value")]))
    low, high = parameter["min"], parameter["max"]
    return chance.randint(low, high) if isinstance(low, int) and isinstance(high, int) else chance.uniform(low, high)
