"""Variables that another job has left over are named with their effect."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp.config.options import WandbConfig
from ultralytics_wb_ddp.doctor.environment_checks import check_leftovers
from ultralytics_wb_ddp.doctor.finding import DoctorRequest


def leftovers(**env: str) -> list[tuple[str, str]]:
    findings = check_leftovers(DoctorRequest(WandbConfig()), env)
    return [(finding.status, f"{finding.message} -> {finding.remedy}") for finding in findings]


def test_leftover_run_id_beside_another_id_says_who_continues_which() -> None:
    (finding,) = check_leftovers(DoctorRequest(WandbConfig(id="xyz")), {"WANDB_RUN_ID": "abc", "WANDB_PROJECT": "demo"})

    assert finding.status == "warning"
    assert finding.message == (
        "WANDB_RUN_ID=abc and the id xyz are two runs: a manager continues xyz, and a callback without a manager abc"
    )


def test_nothing_left_over() -> None:
    assert leftovers(HOME="/home/user", WANDB_PROJECT="demo") == [("ok", "nothing is left over from another job -> ")]


@pytest.mark.parametrize(
    ("env", "status", "words"),
    [
        ({"WANDB_SERVICE": "3-999999999-unix-/nowhere"}, "error", "gone: wandb.init in the script fails"),
        ({"WANDB_SERVICE": "3-1-tcp-localhost-1"}, "warning", "with process 1"),  # it is always there
        ({"RANK": "1", "WORLD_SIZE": "2"}, "error", "does not log, so there is no run -> unset RANK WORLD_SIZE"),
        ({"RANK": "0", "LOCAL_RANK": "0"}, "warning", "a worker of torchrun -> unset RANK LOCAL_RANK"),
        ({"RANK": "one"}, "error", "RANK='one' is no integer"),
        ({"WORLD_SIZE": "4"}, "warning", "here it has no use -> unset WORLD_SIZE"),
        ({"WANDB_SWEEP_ID": "s"}, "warning", "joins this sweep -> unset WANDB_SWEEP_ID"),
        ({"WANDB_RESUME": "must"}, "warning", "unset WANDB_RESUME"),
        ({"WANDB_DISABLED": "true"}, "warning", "so the training is logged"),
        (
            {"ULTRALYTICS_WB_DDP": '{"version": 2, "run_id": "a", "state": "open"}'},
            "warning",
            "without WANDB_RUN_ID it is not read",
        ),
    ],
)
def test_leftover_variable_is_named_with_effect_and_remedy(env: dict[str, str], status: str, words: str) -> None:
    ((found, text),) = leftovers(**env)

    assert found == status
    assert words in text
