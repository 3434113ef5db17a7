"""The stock callback is found in every era, registers nothing beside the package's, and is back afterwards."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from support.jobs import NIGHTLY, RunJob
from support.releases import INSTALLED, Releases
from ultralytics_wb_ddp.tools.stock_callback_patch import TARGET, read_diffs

pytestmark = NIGHTLY
SCENARIO = "stock_callback.py"
FUNCTIONS = {  # by era of the file, and of the patches: registered ones, those added by a run, whether all are found
    "8.3.0": "4 0 True",
    "8.3.0-patched": "5 0 True",
    "8.3.199": "4 0 True",
    "8.3.199-patched": "5 0 True",
    "8.4.139": "4 0 True",
    "8.4.139-patched": "5 0 True",
    "8.4.183": "5 0 True",
    "8.4.183-patched": "5 0 True",
    INSTALLED: "4 2 True",
    f"{INSTALLED}-patched": "4 2 True",
}
ERAS = tuple(name for name in FUNCTIONS if not name.endswith("-patched"))


def test_all_functions_of_every_era_are_found(run_job: RunJob, releases: Releases, tmp_path: Path) -> None:
    for era in ERAS:
        original = (releases.ultralytics(era) / TARGET).read_bytes()
        (diff,) = [diff for diff in read_diffs() if sha256(original).hexdigest() in diff.releases]
        (tmp_path / f"{era}.py").write_bytes(original)
        (tmp_path / f"{era}-patched.py").write_bytes(diff.apply(original))

    job = run_job(SCENARIO, "find_functions", str(tmp_path))
    found = dict(line.split(maxsplit=2)[1:] for line in job.output.splitlines() if line.startswith("FOUND"))

    assert found == FUNCTIONS


@pytest.mark.parametrize("era", ["8.3.199", INSTALLED])  # trainers share the model's callbacks, and have their own
def test_stock_callback_is_off_for_this_training_only(run_job: RunJob, releases: Releases, era: str) -> None:
    path = releases.path(releases.ultralytics(era))
    job = run_job(SCENARIO, "train_with_ours_in_between", PYTHONPATH=path)
    before, ours, after = job.runs

    assert [run.name for run in job.runs] == ["stock", "ours", "stock again"]
    assert {run.state for run in job.runs} == {"finished"}
    assert [row["epoch"] for row in ours.history] == [1, 1, 1]
    for run in (before, after):
        keys = {key for row in run.history for key in row}
        assert {"train/box_loss", "metrics/mAP50(B)", "model/parameters"} <= keys
        assert "per_class_metrics" not in keys
