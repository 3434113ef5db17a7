"""The job of a trial: the sweep's job with the trial's parameters."""

from __future__ import annotations

from ultralytics_wb_ddp.sweeps.trial_job import make_trial_job
from ultralytics_wb_ddp.utils.serialization import to_plain


def test_trial_changes_arguments_model_devices_and_names_in_the_job() -> None:
    job = {"name": "rates", "group": "${name}", "wandb": {"project": "mine"}, "train": {"name": "train", "epochs": 5}}
    job["model"] = {"weights": "yolo11n.pt", "task": "detect"}
    parameters = {"epochs": 3.0, "model": "yolo11s.pt"}

    changed = make_trial_job(job, parameters, device=[2, 3], run_id="abc", project="theirs")

    assert to_plain(changed) == {
        "name": "rates-abc",
        "group": "${name}",
        "wandb": {"project": "theirs"},
        "train": {"name": "train-abc", "epochs": 3, "device": [2, 3]},
        "model": {"weights": "yolo11s.pt", "task": "detect"},
    }
