"""The command says what cannot work before a sweep is made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from wandb_server import WandbServer

from support.example_sweep import EXAMPLE, SMALL
from ultralytics_wb_ddp.cli.main import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["parameters.lr_0={value: 0.1}"], r"parameters: 'lr_0' is no training argument .*; did you mean 'lr0'\?"),
        (["metric.name=metrics/mAP"], "metric.name='metrics/mAP' is nothing that a training logs"),
        (["job.train.optimizer=auto"], "parameters.lr0: optimizer='auto' ignores it; give the job's train.optimizer"),
        (["job.train.device=[0,1,2]", "--agents", "2"], "2 agents cannot share device=[0, 1, 2] equally"),
        (["job.wandb.run_mode=new"], "run_mode='new': the sweep looks for its objective in the run of the trial"),
        (["job.wandb.id=abc"], "the sweep's job: wandb.id='abc': each trial has a run of its own"),
        (["job.wandb.mode=offline"], "a sweep needs W&B's server"),
        (["job.train.save_dir=here"], "all trials would write there"),
        (
            ["job.wandb.notes=${oc.env:NO_SUCH_VARIABLE}"],
            r"the sweep's job, setting .*set the variable NO_SUCH_VARIABLE",
        ),
        (["job.modle=yolo11n.pt"], "Error: the sweep's job: 'modle' is unknown; did you mean 'model'?"),
        (["job.train.epochs=two"], "Error: the sweep's job: train.epochs: 'epochs=two'"),
        (["--join", "team/demo/nothing"], "there is no sweep 'team/demo/nothing'"),
    ],
)
def test_command_says_what_cannot_work_before_a_sweep_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with WandbServer() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(main, ["sweep", str(EXAMPLE), *SMALL, "job.train.data=coco8.yaml", *words])

    assert done.exit_code == 1
    assert re.search(message, done.output) or message in done.output
    assert server.sweeps == []
