"""The helpers that users test their own logging with."""

from __future__ import annotations

from pathlib import Path

import pytest
import wandb
import yaml
from PIL import Image

from support.jobs import NIGHTLY, Job, RunJob
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer, cpu_settings
from ultralytics_wb_ddp.testing.shapes_dataset import TASKS, make_shapes_dataset
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files, read_run


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


def test_shapes_dataset_can_be_generated_while_it_is_read(tmp_path: Path) -> None:
    data = make_shapes_dataset(tmp_path, images=4)
    read = [path.open("rb") for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    before = [Path(file.name).read_bytes() for file in read]
    make_shapes_dataset(tmp_path, images=4)

    assert [file.read() for file in read] == before, "no file was emptied under the reader"
    assert [Path(file.name).read_bytes() for file in read] == before
    assert data in {Path(file.name) for file in read}


def test_settings_for_a_laptop_leave_out_the_device_of_processes_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    two, one, given = cpu_settings(), cpu_settings("cpu"), cpu_settings(None)

    assert two == {**given, "device": "0,1"}
    assert one == {**given, "device": "cpu"}
    assert (given["data"], given["trainer"]) == (str(tmp_path / "shapes/data.yaml"), CpuDDPTrainer)


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


BOXES = {"train/box_loss", "train/cls_loss", "val/box_loss", "metrics/mAP50(B)", "curves/F1-Confidence(B)_table"}
LOGGED = {  # by task: the keys that it is known by
    "detect": BOXES | {"train/dfl_loss"},
    "segment": BOXES | {"train/seg_loss", "val/seg_loss", "metrics/mAP50(M)", "curves/F1-Confidence(M)_table"},
    "pose": BOXES | {"train/pose_loss", "val/kobj_loss", "metrics/mAP50(P)", "curves/F1-Confidence(P)_table"},
    "obb": BOXES | {"train/angle_loss", "val/angle_loss"},
    "classify": {"train/loss", "val/loss", "metrics/accuracy_top1", "metrics/accuracy_top5"},
}
HEADS = {"segment": "Segment, [nc, 8, 16]", "pose": "Pose, [nc, kpt_shape]", "obb": "OBB, [nc, 1]"}


@pytest.fixture(scope="module")
def tasks(run_job: RunJob) -> Job:
    """A training of each task, one after the other in one process."""
    return run_job(f"""\
        from pathlib import Path
        from ultralytics_wb_ddp.testing.shapes_dataset import TASKS, make_shapes_dataset

        heads, detector = {HEADS!r}, Path(os.environ["MODEL"]).read_text()
        for task in TASKS:
            yaml = detector.replace("Detect, [nc]", heads.get(task, "Detect, [nc]"))
            if task == "classify":
                yaml = detector.replace("[[2, 3, 4], 1, Detect, [nc]]", "[-1, 1, Classify, [nc]]")
            Path(f"tiny-{{task}}.yaml").write_text(yaml + "\\nkpt_shape: [4, 3]\\n")
            data = make_shapes_dataset(f"shapes-{{task}}", images=8, classes=2, task=task)
            model = YOLO(f"tiny-{{task}}.yaml")
            assert model.task == task
            add_wandb_callback(model)
            model.train(**{{**ONE_PROCESS, "name": task, "data": str(data), "epochs": 1, "plots": True, "conf": 1e-6}})
    """)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_trains_on_shapes_and_is_logged(tasks: Job, task: str) -> None:
    (run,) = [run for run in tasks.runs if run.name == task]
    keys = {key for row in run.history for key in row}

    assert run.state == "finished"
    assert "could not be logged" not in tasks.output
    assert [row["epoch"] for row in run.history] == [1, 1, 1]
    assert LOGGED[task] | {"lr/pg0", "model/parameters", "results", "per_class_metrics"} <= keys
    (table,) = (row["mistakes"] for row in run.rows("mistakes"))
    assert 1 <= table["nrows"] <= 2, "images of the validation set"


# Another family of models, with a trainer of the user's, which has other losses and another validator.
RTDETR = """\
from pathlib import Path
Path("trainers.py").write_text('''\
from ultralytics.models.rtdetr.train import RTDETRTrainer
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPMixin

class CpuDDPRTDETRTrainer(CpuDDPMixin, RTDETRTrainer):
    pass
''')
from trainers import CpuDDPRTDETRTrainer
from ultralytics import RTDETR

model = RTDETR("rtdetr-resnet50.yaml")
add_wandb_callback(model)
model.train(**{**TWO_PROCESSES, "trainer": CpuDDPRTDETRTrainer, "epochs": 1, "batch": 4})
"""


@NIGHTLY
def test_any_trainer_trains_in_several_cpu_processes_and_is_logged(run_job: RunJob) -> None:
    run = run_job(RTDETR).run

    assert (run.state, run.exit_code) == ("finished", 0)
    first, *rest = run.history
    assert {"train/giou_loss", "val/l1_loss", "metrics/mAP50(B)", "ranks/1/loss"} <= first.keys()
    assert [row["epoch"] for row in rest] == [1, 1]


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


def test_read_run_of_nothing() -> None:
    with pytest.raises(FileNotFoundError, match=r"'nope' does not exist; give a \.wandb file, or the directory"):
        read_run("nope")


def test_read_run_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "run-x.wandb"
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"no \.wandb file"):
        read_run(file)


def test_read_run_of_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no \.wandb file; give a directory that W&B has written"):
        read_run(tmp_path)
