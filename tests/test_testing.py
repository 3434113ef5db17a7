"""The helpers that users test their own logging with."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb
import yaml
from PIL import Image

from conftest import RunJob
from ultralytics_wb_ddp.testing import find_run_files, make_shapes_dataset, read_run


def test_shapes_dataset_has_images_and_labels_of_every_class(tmp_path: Path) -> None:
    data = make_shapes_dataset(tmp_path, images=12, classes=3)

    described = yaml.safe_load(data.read_text())
    images = sorted(tmp_path.glob("images/*/*.png"))
    labels = [line.split() for file in tmp_path.glob("labels/*/*.txt") for line in file.read_text().splitlines()]
    assert described["names"] == {0: "shape0", 1: "shape1", 2: "shape2"}
    assert len(images) == len(labels) == 12
    assert Image.open(images[0]).size == (64, 64)
    assert {label[0] for label in labels} == {"0", "1", "2"}
    assert all(0 <= float(value) <= 1 for label in labels for value in label[1:])


def test_shapes_dataset_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    def content(name: str, seed: int) -> dict[str, bytes]:
        make_shapes_dataset(tmp_path / name, images=4, classes=2, seed=seed)
        files = [path for path in (tmp_path / name).rglob("*") if path.suffix in {".png", ".txt"}]
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files}

    assert content("a", 1) == content("b", 1)
    assert content("a", 1) != content("c", 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": 3}, "images=3"),
        ({"classes": 0}, "classes=0"),
        ({"task": "semantic"}, "task='semantic' is unknown; choose one of detect"),
    ],
)
def test_shapes_dataset_names_a_bad_argument(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_shapes_dataset(tmp_path, **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_every_task_trains_on_shapes_and_is_logged(run_job: RunJob, task: str) -> None:
    suffix = {"segment": "seg", "classify": "cls"}.get(task, task)
    job = run_job(f"""\
        from ultralytics_wb_ddp.testing import make_shapes_dataset
        data = make_shapes_dataset("shapes", images=8, classes=2, task="{task}")
        model = YOLO("yolo11n-{suffix}.yaml")
        add_wandb_callback(model)
        model.train(**{{**ONE_PROCESS, "data": str(data), "epochs": 1, "plots": True, "conf": 1e-6}})
    """)

    keys = {key for row in job.run.history for key in row}
    assert job.run.state == "finished"
    assert "could not be logged" not in job.output
    assert [row["epoch"] for row in job.run.history] == [1, 1, 1]
    assert {key.split("/")[0] for key in keys} >= {"train", "val", "metrics", "lr", "model"}
    if task != "classify":
        assert {f"curves/{curve}(B)_table" for curve in ("Precision-Recall", "F1-Confidence")} <= keys
    assert "per_class_metrics" in keys
    (table,) = (row["mistakes"] for row in job.run.rows("mistakes"))
    assert 1 <= table["nrows"] <= 2  # images of the validation set


def test_read_run_holds_what_the_client_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
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


def test_read_run_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "run-x.wandb"
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"no \.wandb file"):
        read_run(file)


def test_read_run_of_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds 0 \.wandb files"):
        read_run(tmp_path)
