"""What README and docs show can be done: their code runs as it is written, the two commands are those of the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support import matrix_table
from support.jobs import NIGHTLY, RunJob
from support.paths import ROOT
from support.s3_service import S3Service
from ultralytics_wb_ddp.tools.stock_callback_patch import known_releases

README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = {
    f"{page.stem}-{number}": code
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL), 1)
}
ONE_TRAINING = {name: code for name, code in CODE.items() if "upload_to_s3" not in code and "kfold" not in code}
COMMANDS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)

# What the README takes for granted (GPUs, weights, a dataset, a login, hours), in the size of a test: each training of
# a script runs on the CPU, for two epochs of small images with a tiny model, and the files lie where the script runs.
ON_A_GPU_MACHINE = """\
import os, shutil
from ultralytics import YOLO, settings
from ultralytics.utils import DEFAULT_CFG
from ultralytics_wb_ddp.testing.cpu_trainers import CpuDDPTrainer
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset

class SmallTrainer(CpuDDPTrainer):
    def __init__(self, cfg=DEFAULT_CFG, overrides=None, _callbacks=None):
        small = {"epochs": 2, "imgsz": 64, "batch": 8, "workers": 0, "plots": False, "device": os.environ["DEVICE"]}
        super().__init__(cfg, {**overrides, **small}, _callbacks)

shutil.copy(os.environ["MODEL"], "yolo11.yaml")  # which "yolo11n.yaml" means
settings.update(runs_dir=os.path.abspath("runs"))
YOLO.task_map = {"detect": {**YOLO("yolo11n.yaml").task_map["detect"], "trainer": SmallTrainer}}
YOLO("yolo11n.yaml").save("yolo11n.pt")
os.rename(make_shapes_dataset("shapes", images=16, classes=2), "coco8.yaml")
"""


# Trainings in two processes, in the usages A, B and C, are test_training.py's; here the first one stands for them.
CASES = [
    pytest.param(
        code, device, id=f"{name}-{device}", marks=() if (device == "cpu") != (name == "README-1") else NIGHTLY
    )
    for name, code in ONE_TRAINING.items()
    for device in ("cpu", "0,1")
]


@pytest.mark.parametrize(("code", "device"), CASES)
def test_code_runs_as_it_is_written(run_job: RunJob, code: str, device: str) -> None:
    job = run_job(code, prelude=ON_A_GPU_MACHINE, DEVICE=device)

    assert job.run.state == "finished"
    assert [row["epoch"] for row in job.run.history if "epoch" in row] == [1, 2, 2, 2]


# The same for code that begins where a manager's run is open and a training has left its weights.
AFTER_A_TRAINING = """\
from pathlib import Path
from ultralytics_wb_ddp import WandbManager

weights = Path("runs/detect/train/weights")
weights.mkdir(parents=True)
(weights / "best.pt").write_bytes(b"weights")
manager = WandbManager({"wandb": {"project": "demo"}}, job_name="job")
manager.initialize()
"""


def test_code_for_s3_runs_as_it_is_written(run_job: RunJob, s3: S3Service, bucket: str) -> None:
    (code,) = (code for code in CODE.values() if "upload_to_s3" in code)

    job = run_job(code + "manager.finish()\n", prelude=AFTER_A_TRAINING, **s3.environment)

    (artifact,) = job.run.artifacts
    assert artifact.name == "checkpoints"
    assert s3.keys(bucket) == ["runs/1/best.pt"]


@NIGHTLY
def test_code_for_folds_runs_as_it_is_written(run_job: RunJob) -> None:
    (code,) = (code for code in CODE.values() if "kfold" in code)

    job = run_job(code, prelude=ON_A_GPU_MACHINE, DEVICE="0,1")

    assert {run.name for run in job.runs} == {"5-fold-summary", *(f"5-fold-fold-{fold}" for fold in range(5))}
    assert {run.state for run in job.runs} == {"finished"}
    assert "±" in job.output


def test_every_usage_is_among_the_code() -> None:
    for words in ("add_wandb_callback(model, run=run)", "WandbManager(cfg", "callbacks.items()", "CpuDDPTrainer"):
        assert any(words in block for block in CODE.values())


def test_commands_are_scripts_of_the_project() -> None:
    assert [command.split()[0] for command in COMMANDS] == ["scripts/demo", "scripts/test"]
    assert all((ROOT / command.strip()).stat().st_mode & 0o111 for command in [*COMMANDS, "scripts/matrix"])


def test_ci_calls_the_test_command_as_it_stands_here() -> None:
    assert COMMANDS[1].strip() in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()


def test_cells_of_the_matrix_that_were_not_tried_again_stay(tmp_path: Path) -> None:
    first, last = matrix_table.MARKS
    page, report = tmp_path / "page.md", tmp_path / "report.xml"
    table = [
        "| Ultralytics | wandb 0.22.3 | wandb 0.31.0 |",
        "| --- | --- | --- |",
        "| 8.3.0 | A, **patch open failed** | not tried |",
        "| 8.4.9 | not tried | B, C |",
    ]
    page.write_text("\n".join(["before", first, "", *table, "", last, "after"]))
    cases = [("8.3.0-0.22.3-patch-open", ""), ("8.4.9-0.29.0-A", ""), ("8.4.9-0.31.0-B", "<skipped/>")]
    rows = [f'<testcase name="test_training_is_one_run[{name}]">{outcome}</testcase>' for name, outcome in cases]
    report.write_text(f"<testsuites>{''.join(rows)}</testsuites>")

    matrix_table.write(page, report)

    assert page.read_text().splitlines() == [
        "before",
        first,
        "",
        "| Ultralytics | wandb 0.22.3 | wandb 0.29.0 | wandb 0.31.0 |",
        "| --- | --- | --- | --- |",
        "| 8.3.0 | A, patch open | not tried | not tried |",
        "| 8.4.9 | not tried | A | B, C |",
        "",
        last,
        "after",
    ]


def test_table_of_releases_is_what_the_matrix_writes(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    cases = {
        "8.3.0-0.22.3-A": "",
        "8.3.0-0.22.3-patch-open": "<failure/>",
        "8.4.9-0.31.0-B": "",
        "8.4.9-0.22.3-B": "<skipped/>",
    }
    report.write_text(
        "".join(
            ["<testsuites>"]
            + [f'<testcase name="test_training_is_one_run[{name}]">{how}</testcase>' for name, how in cases.items()]
            + ["</testsuites>"]
        )
    )

    assert matrix_table.table(matrix_table.results(report)).splitlines() == [
        "| Ultralytics | wandb 0.22.3 | wandb 0.31.0 |",
        "| --- | --- | --- |",
        "| 8.3.0 | A, **patch open failed** | not tried |",
        "| 8.4.9 | not tried | B |",
    ]
    first, last = (README.index(mark) for mark in matrix_table.MARKS)
    assert {"8.3.0", known_releases().split()[-1]} <= set(
        re.findall(r"^\| ([\d.]+) \|", README[first:last], re.MULTILINE)
    )
    assert "failed" not in README[first:last]
