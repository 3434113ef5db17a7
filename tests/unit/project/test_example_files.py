"""The examples: short, each with what it shows and how to run it at its top, and each is run by a test."""

from __future__ import annotations

import re

import pytest

from support.documents import README
from support.example_texts import commands, header
from support.paths import ROOT, TESTS

EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_file())

# Without GPUs each is run by a test: those of test_examples.py do what the example says, the others do more with it.
RUN_BY = {
    "callbacks_by_hand.py": "test_examples.py::test_training_is_one_run",
    "distributed.py": "test_examples.py::test_ranks_of_a_program_log_by_the_strategy",
    "flyte_task.py": "test_flyte.py::test_training_in_a_flyte_task_is_one_run",
    "job.yaml": "test_examples.py::test_training_is_one_run",
    "kfold.py": "test_groups.py::test_example_cross_validates_offline_and_goes_on",
    "manager.py": "test_examples.py::test_manager_holds_the_run_before_and_after_the_training",
    "own_run.py": "test_examples.py::test_training_is_one_run",
    "ray_train.py": "test_ray.py::test_training_that_ray_starts_again_goes_on_in_its_run",
    "s3_storage.py": "test_examples.py::test_what_a_training_leaves_is_in_s3_and_referred_to",
    "slurm.sbatch": "test_slurm_example.py::test_all_starts_of_a_job_are_one_run",
    "spawn.py": "test_examples.py::test_spawned_processes_have_one_run",
    "sweep.py": "test_examples.py::test_trials_are_runs_of_their_own",
    "sweep.yaml": "test_examples.py::test_trials_are_runs_of_their_own",
    "torchrun_one_node.py": "test_examples.py::test_training_is_one_run",
    "torchrun_two_nodes.py": "test_ddp.py::test_example_for_two_nodes_makes_one_run",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_short_and_begins_with_what_it_shows_and_how_to_run_it(name: str) -> None:
    example = f"examples/{name}"
    said = header(example)

    assert len((ROOT / example).read_text(encoding="utf-8").splitlines()) < 60
    assert re.match(r"[A-Z][^\n]{40,110}[.:]\n", said), "a sentence"
    assert example in commands(said)[0]
    assert f"| [`{name}`]({example}) |" in README, "the table of examples"


def test_every_example_is_run_by_a_test() -> None:
    assert sorted(RUN_BY) == EXAMPLES
    for name, test in RUN_BY.items():
        file, _, function = test.partition("::")
        (path,) = TESTS.glob(f"*/{file}")
        text = path.read_text(encoding="utf-8")
        assert f'"examples/{name}"' in text or f'EXAMPLES / "{name}"' in text
        assert f"def {function}(" in text


def test_readme_names_no_example_that_is_not_there() -> None:
    assert set(re.findall(r"\(examples/([^)]+)\)", README)) == set(EXAMPLES)
