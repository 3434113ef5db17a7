"""A run's file as the client writes it, read back."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb

from ultralytics_wb_ddp.wandb_client.run_file import find_run_files, read_run


@pytest.mark.usefixtures("no_s3")
def test_read_run_holds_all_that_the_client_wrote(tmp_path: Path) -> None:
    wandb.teardown()
    run = wandb.init(
        project="p", name="n", group="g", tags=["t"], config={"a": {"b": 1}}, mode="offline", dir=str(tmp_path)
    )
    run.define_metric("loss", step_metric="epoch")
    for epoch in range(3000):  # more than one block of the file
        run.log({"loss": 1 / (epoch + 1), "epoch": epoch, "text": "x" * 50})
    run.summary["best"] = 0.5
    artifact = wandb.Artifact("things", type="dataset")
    with artifact.new_file("a.txt") as file:
        file.write("hello")
    run.log_artifact(artifact)
    open_yet = read_run(run.dir.replace("files", ""))
    run.finish(exit_code=3)
    wandb.teardown()

    (path,) = find_run_files(tmp_path)
    record = read_run(path)
    assert open_yet.state == "running"
    assert (record.id, record.project, record.name, record.group, record.tags) == (run.id, "p", "n", "g", ("t",))
    assert (record.state, record.exit_code) == ("failed", 3)
    assert record.config["a"] == {"b": 1}
    assert [row["epoch"] for row in record.history] == list(range(3000))
    assert record.summary["best"] == 0.5
    assert record.summary["epoch"] == 2999
    assert record.metrics == {"loss": "epoch"}
    assert record.artifacts[0].name == "things"
    assert record.artifacts[0].entries == {"a.txt": 5}
