"""Opening runs with the real client when W&B is not there."""

from __future__ import annotations

import pytest

from support.jobs import NIGHTLY, RunJob
from ultralytics_wb_ddp import ConfigurationError, WandbConfig

# Nothing listens on port 9 of this machine.
NO_SERVER = {
    "WANDB_MODE": "online",
    "WANDB_BASE_URL": "http://127.0.0.1:9",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "WANDB_ERROR_REPORTING": "false",
}


def test_run_is_written_to_disk_where_wandb_cannot_be_reached(run_job: RunJob) -> None:
    job = run_job(
        """\
        from ultralytics_wb_ddp import WandbManager
        with WandbManager({"wandb": {"project": "demo", "init_timeout": 2}}, "job") as manager:
            assert manager.run.offline
            manager.prepare_for_training()
            manager.run.log({"x": 1})
        """,
        prelude="",
        **NO_SERVER,
    )

    kept = next(run for run in job.runs if run.history)
    assert kept.state == "finished"
    assert f"ultralytics-wb-ddp sync {kept.path.parent}" in job.output


@pytest.mark.parametrize(
    ("options", "env", "message"),
    [
        ({}, {"WANDB_API_KEY": ""}, "wandb login"),
        ({"init_timeout": 2}, {}, "TimeoutError: no answer within 2 s"),
    ],
    ids=["no-key", "no-answer"],
)
def test_run_that_cannot_be_opened_is_an_error_where_that_is_wanted(
    run_job: RunJob, options: dict[str, int], env: dict[str, str], message: str
) -> None:
    cfg = {"wandb": {"project": "demo", "on_error": "raise", **options}}
    script = f"from ultralytics_wb_ddp import WandbManager\nWandbManager({cfg}, 'job').initialize()"
    job = run_job(script, prelude="", check=False, **{**NO_SERVER, **env})

    assert job.exit_code == 1
    assert message in job.output


@NIGHTLY
def test_training_without_an_api_key_is_written_to_disk(run_job: RunJob) -> None:
    job = run_job(
        """\
        add_wandb_callback(model, project="demo")
        model.train(**{**ONE_PROCESS, "epochs": 1})
        """,
        **{**NO_SERVER, "WANDB_API_KEY": ""},
    )

    kept = next(run for run in job.runs if run.history)
    assert [row["epoch"] for row in kept.history] == [1, 1, 1]
    assert kept.state == "finished"
    assert "W&B cannot be used (UsageError: No API key configured" in job.output
    assert f"ultralytics-wb-ddp sync {kept.path.parent}" in job.output


def test_row_is_on_disk_within_a_second(run_job: RunJob) -> None:
    job = run_job(
        """\
        import time
        from ultralytics_wb_ddp import WandbManager
        from ultralytics_wb_ddp.wandb_client.run_file import read_run
        with WandbManager({"wandb": {"project": "demo", "mode": "offline"}}, "job") as manager:
            manager.run.log({"x": 1})
            time.sleep(1.5)
            print("ON DISK", [row["x"] for row in read_run(os.path.dirname(manager.run.dir)).history])
        """,
        prelude="import os\n",
    )

    assert "ON DISK [1]" in job.output


@pytest.mark.parametrize("setting", ["init_timeout", "finish_timeout", "flush_interval", "on_launcher_lost"])
def test_wrong_setting_is_refused_by_name(setting: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"cfg\.wandb\.{setting}='soon'"):
        WandbConfig.from_cfg({"wandb": {"project": "demo", setting: "soon"}})


def test_run_is_opened_without_a_second_of_imports_that_only_launch_needs(run_job: RunJob) -> None:
    job = run_job("""
        import wandb
        before = set(sys.modules)  # older releases of wandb import it with themselves
        with WandbManager(CFG, "job"):
            print("imported at once:", "wandb.sdk.launch" in sys.modules.keys() - before)
        from wandb.sdk.launch import manage_wandb_config  # somebody uses it in this process
        from wandb.sdk.launch.inputs.internal import StagedLaunchInputs
        manage_wandb_config(include=["lr"])
        applied = []
        apply = StagedLaunchInputs.apply
        StagedLaunchInputs.apply = lambda staged, run: (applied.append(run.id), apply(staged, run))
        with WandbManager(CFG, "job") as manager:
            print("applied:", applied == [manager.run.id])
    """)

    assert "imported at once: False" in job.output
    assert "applied: True" in job.output
