"""Sessions of W&B's own client, as the backend of the tests meets them; Ultralytics is not loaded."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import wandb

from scenarios.calls import run_named

FAST: dict[str, Any] = {"x_disable_stats": True, "console": "off", "x_file_stream_transmit_interval": 1}  # in seconds
for part in ("x_file_stream", "x_graphql", "x_file_transfer"):
    FAST[f"{part}_retry_wait_min_seconds"] = FAST[f"{part}_retry_wait_max_seconds"] = 1


def start(run_id: str, settings: dict[str, Any] | None = None, **given: Any) -> Any:
    return wandb.init(project="demo", id=run_id, settings=wandb.Settings(**FAST, **(settings or {})), **given)


def start_and_finish(run_id: str) -> None:
    start(run_id).finish()


def try_to_start(timeout: str) -> None:
    try:
        start("r", {"init_timeout": float(timeout)}).finish()
    except wandb.Error as error:
        print(type(error).__name__, flush=True)
    os._exit(0)


def log_three_rows() -> None:
    with start("r", resume="allow") as run:
        for number in range(3):
            run.log({"a": number})


def log_over_rows() -> None:
    log_three_rows()
    with start("r", resume="must") as run:
        run.log({"a": "late"})


def describe_and_read_back() -> None:
    given: dict[str, Any] = {
        "name": "my name",
        "group": "g",
        "job_type": "train",
        "tags": ["x"],
        "notes": "n",
        "config": {"lr": 0.1},
    }
    with start("r", **given) as run:
        run.log({"a": 1})
        run.summary["best"] = 2
        Path("notes.txt").write_text("hello", encoding="utf-8")
        run.save("notes.txt", policy="now")

    api = wandb.Api()
    seen = api.run("team/demo/r")
    best = seen.summary["best"]
    print(api.viewer.entity, seen.state, seen.name, seen.config, best, seen.historyLineCount, seen.tags)
    print([row["a"] for row in seen.history(pandas=False)], seen.heartbeat_at > seen.created_at)
    try:
        api.run("team/demo/none")
    except Exception as error:
        print(error)


def resume_and_vanish() -> None:
    log_three_rows()
    with start("r", resume="must") as run:
        run.log({"a": "next"})
        run.config["b"] = 1
        if wandb.Api().run("team/demo/r").state == "running":
            os._exit(0)
        print("not running")


def write_in_shared_mode(kind: str) -> None:
    primary = kind == "primary"
    settings = {"x_primary": primary, "x_update_finish_state": primary, "x_label": kind, "mode": "shared"}
    with start("r", settings) as run:
        for number in range(3):
            run.log({"a": number, "primary": primary})


def be_preempted_and_fail() -> None:
    run = start("r")
    run.mark_preempting()
    run.finish(exit_code=1)
    start("s").finish(exit_code=1)


def log_a_token() -> None:
    with start("r", config={"token": "my secret"}) as run:
        run.log({"a": 1})


def log_before_and_after(file: str) -> None:
    run = start("r")
    run.log({"a": 0})
    while not Path(file).exists():
        time.sleep(0.02)
    run.log({"a": 1})
    run.finish()


def log_until_stopped() -> None:
    from wandb.sdk.lib import run_stopping

    run_stopping.RunStopChecker.__init__.__kwdefaults__["poll_interval"] = 0.2  # 15 seconds
    stopped: list[int] = []
    run = start("r", {"stop_fn": lambda: stopped.append(1)})
    end = time.monotonic() + 20
    while not stopped and time.monotonic() < end:
        run.log({"a": 1})
        time.sleep(0.05)
    run.finish()
    print("stopped:", bool(stopped))


def make_artifact(text: str) -> wandb.Artifact:
    artifact = wandb.Artifact("data", type="dataset", metadata={"rows": 1})
    with artifact.new_file("inside.txt") as file:
        file.write(text)
    artifact.add_reference(f"file://{Path('referred.txt').absolute()}", name="outside.txt")
    return artifact


def log_and_use_artifacts() -> None:
    with start("maker") as run:
        first = run.log_artifact(make_artifact("one"), aliases=["best"]).wait()
        again = run.log_artifact(make_artifact("one")).wait()
        second = run.log_artifact(make_artifact("two"), aliases=["best"]).wait()
        assert [first.version, again.version, second.version] == ["v0", "v0", "v1"]

    with start("user") as run:
        for name, text in (("data:best", "two"), ("data:v0", "one")):
            artifact = run.use_artifact(name)
            assert Path(artifact.download(), "inside.txt").read_text(encoding="utf-8") == text
            assert Path(artifact.get_entry("outside.txt").download()).read_text(encoding="utf-8") == "elsewhere"
        assert run.use_artifact("data:best").metadata == {"rows": 1}


def run_sweeps() -> None:
    from wandb.agents.pyagent import Agent

    Agent.HEARTBEAT_SLEEP_SECONDS = 0.2

    def trial() -> None:
        with wandb.init(settings=wandb.Settings(**FAST)) as run:
            run.log({"loss": run.config["lr"]})

    grid = {"method": "grid", "parameters": {"lr": {"values": [0.1, 0.2]}}}
    chance = {"method": "random", "parameters": {"lr": {"min": 0.0, "max": 1.0}}}
    wandb.agent(wandb.sweep(grid, project="demo"), trial, count=2)
    wandb.agent(wandb.sweep(chance), trial, count=1)


if __name__ == "__main__":
    run_named(globals())
