"""Which run a training continues, and how a run ends that its training has failed; every training is a real one."""

from __future__ import annotations

import pytest

from support.jobs import END, EPOCHS, INTERRUPTED, NIGHTLY, RunJob, epochs


def test_resumed_training_continues_its_run(run_job: RunJob) -> None:
    again = "model = YOLO('train/weights/last.pt')\nadd_wandb_callback(model)\nmodel.train(resume=True)\n"
    job = run_job("add_wandb_callback(model)\n" + INTERRUPTED + again)
    interrupted, resumed = job.runs

    assert resumed.id == interrupted.id
    assert (interrupted.state, interrupted.exit_code) == ("failed", 1)
    assert (resumed.state, resumed.exit_code) == ("finished", 0)
    assert [row.get("epoch") for row in interrupted.history] == [1]
    assert [row.get("epoch") for row in resumed.history] == [2, 2, 2]


def test_training_that_is_resumed_without_its_record_says_that_its_run_is_new(run_job: RunJob) -> None:
    again = """
import shutil
os.makedirs("elsewhere")
shutil.move("train/weights/last.pt", "elsewhere/last.pt")
shutil.rmtree("train")  # as on another machine
model = YOLO("elsewhere/last.pt")
add_wandb_callback(model, dir=os.getcwd())
model.train(resume=True)
"""
    job = run_job("add_wandb_callback(model, dir=os.getcwd())\n" + INTERRUPTED + again)
    interrupted, resumed = job.runs

    assert resumed.id != interrupted.id
    told = f"WARNING: the resumed training goes on in the new run {resumed.id}: which run holds its first epochs"
    assert job.output.count(told) == 1
    assert "no wandb_run.json beside the checkpoint" in job.output
    assert "WANDB_RUN_ID" in job.output


@NIGHTLY
def test_forgotten_prepare_for_training_does_no_harm(run_job: RunJob) -> None:
    job = run_job("""\
        with WandbManager(CFG, "job") as manager:
            manager.run.log({"before": 1})
            add_wandb_callback(model)
            model.train(**TWO_PROCESSES)
            manager.run.log({"after": 1})
    """)

    assert epochs(job) == [None, *EPOCHS, END, None]
    assert job.run.state == "finished"


@NIGHTLY
def test_active_run_is_continued_without_being_given(run_job: RunJob) -> None:
    job = run_job("""\
        import wandb
        run = wandb.init(project="demo")
        for event, function in callbacks.items():
            model.add_callback(event, function)
        model.train(**TWO_PROCESSES)
        run.log({"after": 1})
    """)

    assert epochs(job) == [*EPOCHS, END, None]


@NIGHTLY
def test_run_named_by_the_environment_is_continued(run_job: RunJob) -> None:
    job = run_job(
        """\
        add_wandb_callback(model)
        model.train(**TWO_PROCESSES)
        """,
        WANDB_RUN_ID="made-elsewhere",
        WANDB_PROJECT="theirs",
    )

    assert (job.run.id, job.run.project, job.run.state) == ("made-elsewhere", "theirs", "finished")
    assert epochs(job) == [*EPOCHS, END]


def test_training_in_one_process_adopts_the_run_and_leaves_it_open(run_job: RunJob) -> None:
    job = run_job("""\
        with WandbManager(CFG, "job") as manager:
            add_wandb_callback(model)
            manager.prepare_for_training()
            model.train(**ONE_PROCESS)
            manager.resume_after_training()
            manager.run.log({"after": 1})
    """)

    assert epochs(job) == [*EPOCHS, END, None]
    assert (job.run.state, job.run.exit_code) == ("finished", 0)


@NIGHTLY
def test_two_trainings_in_one_process_give_two_complete_runs(run_job: RunJob) -> None:
    job = run_job("""\
        def of_wandb():
            return {name: value for name, value in os.environ.items() if "WANDB" in name or "EXPERIMENT" in name}
        before = of_wandb()
        for number in (1, 2):
            model = YOLO(os.environ["MODEL"])
            with WandbManager(CFG, f"job-{number}") as manager:
                add_wandb_callback(model)
                manager.prepare_for_training()
                model.train(**{**TWO_PROCESSES, "name": f"train-{number}", "epochs": 1})
                manager.resume_after_training()
                manager.run.log({"number": number})
            print("AS BEFORE", of_wandb() == before)
    """)
    first, second = job.runs

    assert job.output.count("AS BEFORE True") == 2
    for number, run in enumerate((first, second), start=1):
        assert run.name == f"job-{number}"
        assert [row.get("epoch") for row in run.history] == [1, 1, 1, None]
        assert run.history[-1]["number"] == number
        assert run.state == "finished"


FAILS_IN_EPOCH_2 = """
def fail(trainer):
    if trainer.epoch == 1 and os.environ["RANK"] == "0":
        raise RuntimeError("the training's own fault")
model.add_callback("on_train_epoch_start", fail)
"""


@pytest.mark.parametrize(
    "usage",
    [
        pytest.param(
            "import wandb; run = wandb.init(project='demo'); add_wandb_callback(model, run=run); train()", id="A"
        ),
        pytest.param("with WandbManager(CFG, 'job'): add_wandb_callback(model); train()", id="B", marks=NIGHTLY),
        pytest.param(
            "[model.add_callback(event, function) for event, function in callbacks.items()]; train()",
            id="C",
            marks=NIGHTLY,
        ),
    ],
)
def test_exception_in_rank_0_ends_in_a_failed_run_with_the_rows_of_before(usage: str, run_job: RunJob) -> None:
    script = f"""
import subprocess
{FAILS_IN_EPOCH_2}
def train():
    try:
        model.train(**TWO_PROCESSES)
    except subprocess.CalledProcessError as error:
        print("LAUNCHER SAW", error.returncode)
        raise
{usage}
"""
    job = run_job(script, check=False)

    assert job.exit_code == 1
    assert "LAUNCHER SAW 1" in job.output
    assert (job.run.state, job.run.exit_code) == ("failed", 1)
    assert epochs(job) == [1]
    assert "train/box_loss" in job.run.history[0]
