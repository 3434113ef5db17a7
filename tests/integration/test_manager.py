"""WandbManager: the launcher's half of a run, with the real W&B client offline."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import wandb
from omegaconf import OmegaConf

from support.jobs import NIGHTLY, RunJob
from support.managers import MakeManager, clean_environment, manager_maker
from ultralytics_wb_ddp import wandb_config
from ultralytics_wb_ddp.runs.handoff import HANDOFF_VARIABLE, Handoff
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run

API_KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    clean_environment(monkeypatch, tmp_path)
    yield
    if wandb.run is not None:
        wandb.run.finish()


@pytest.fixture
def make_manager(tmp_path: Path) -> MakeManager:
    return manager_maker(tmp_path)


def all_recorded(directory: Path) -> list[RecordedRun]:
    wandb.teardown()  # finish() does not wait for the file to be written
    return [read_run(file) for file in find_run_files(directory)]


def recorded(directory: Path) -> RecordedRun:
    (run,) = all_recorded(directory)
    return run


OPTIONS = {"id": "my-id", "name": "n", "group": "g", "job_type": "train", "tags": ["a", "b"], "notes": "text"}
RAW_CFG = {
    "wandb": {"project": "demo", "api_key": API_KEY},
    "train": {"lr0": "${oc.env:SECRET_LR}", "hub": [{"hf-token": "hush"}], "note": f"key {API_KEY}"},
}


@dataclass
class WholeJob:
    """A job that has used every method for inputs, and the texts that it has stored."""

    directory: Path
    run: RecordedRun
    config: str
    metadata: str
    packages: list[str]


@pytest.fixture(scope="module")
def whole_job(tmp_path_factory: pytest.TempPathFactory) -> WholeJob:
    directory, inputs = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("inputs")
    (inputs / "code/deep").mkdir(parents=True)
    (inputs / "data.yaml").write_text("names: [a]")
    (inputs / "code/deep/train.py").write_text("pass")
    with pytest.MonkeyPatch.context() as monkeypatch:
        clean_environment(monkeypatch, directory)
        monkeypatch.setenv("SECRET_LR", "0.7")
        with manager_maker(directory)("ignored", api_key=API_KEY, **OPTIONS) as manager:
            manager.save_config(OmegaConf.create(RAW_CFG))
            manager.save_training_job_metadata({"cluster": "a", "path": Path("x"), "token": "hush"})
            artifact = manager.save_training_artifacts(inputs / "data.yaml", str(inputs / "code"))
            config, metadata = (
                (Path(manager.run.dir) / name).read_text()
                for name in ("configs/training-job-config.yaml", "training-job-metadata.json")
            )
        packages = Path(artifact.manifest.entries["requirements.txt"].local_path).read_text().splitlines()
        return WholeJob(directory, recorded(directory), config, metadata, packages)


def test_options_of_cfg_reach_the_run(whole_job: WholeJob) -> None:
    run = whole_job.run

    assert (run.id, run.name, run.group, run.job_type) == ("my-id", "n", "g", "train")
    assert (set(run.tags), run.notes) == ({"a", "b"}, "text")


def test_save_config_stores_the_config_without_its_secrets(whole_job: WholeJob) -> None:
    assert OmegaConf.create(whole_job.config) == OmegaConf.create(
        {
            "wandb": {"project": "demo", "api_key": "[redacted]"},
            "train": {"lr0": "${oc.env:SECRET_LR}", "hub": [{"hf-token": "[redacted]"}], "note": "key [redacted]"},
        }
    )
    assert "configs/training-job-config.yaml" in whole_job.run.files
    written = b"".join(path.read_bytes() for path in whole_job.directory.rglob("*") if path.is_file())
    assert API_KEY.encode() not in written
    assert b"hush" not in written


def test_metadata_goes_into_the_config_and_a_file(whole_job: WholeJob) -> None:
    expected = {"cluster": "a", "path": "x", "token": "[redacted]"}

    assert whole_job.run.config["job"] == expected
    assert json.loads(whole_job.metadata) == expected
    assert "training-job-metadata.json" in whole_job.run.files


def test_training_artifacts_hold_files_folders_and_the_installed_packages(whole_job: WholeJob) -> None:
    (record,) = whole_job.run.artifacts

    assert (record.name, record.type) == ("run_my-id_training_inputs", "training-inputs")
    assert record.entries.keys() == {"data.yaml", "code/deep/train.py", "requirements.txt"}
    assert f"wandb=={wandb.__version__}" in whole_job.packages


def test_initialize_returns_the_run_and_its_address(make_manager: MakeManager) -> None:
    manager = make_manager("my-job", "exp-1")

    run, url = manager.initialize()

    assert run is manager.run
    assert (run.name, run.group, run.project) == ("my-job", "exp-1", "demo")
    assert url is None  # offline
    assert manager.wandb_url is None
    manager.finish()


@pytest.mark.parametrize(
    ("section", "env", "job_type"),
    [
        ({}, {}, "training"),
        pytest.param({"job_type": "evaluation"}, {}, "evaluation", marks=NIGHTLY),
        ({}, {"WANDB_JOB_TYPE": "tuning"}, "tuning"),
        pytest.param({}, {"WANDB_JOB_TYPE": ""}, "training", marks=NIGHTLY),
        ({"id": "made-by-this-job"}, {}, "training"),
        pytest.param({}, {"WANDB_RUN_ID": "named-by-the-scheduler"}, "training", marks=NIGHTLY),
        ({"mode": "disabled"}, {}, ""),
    ],
)
def test_run_is_of_job_type_training_unless_the_user_says_otherwise(
    make_manager: MakeManager,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: dict[str, str],
    env: dict[str, str],
    job_type: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)

    with make_manager(**section) as manager:
        assert manager.run.job_type in {job_type, "training"}

    assert [run.job_type for run in all_recorded(tmp_path)] == ([job_type] if job_type else [])


@NIGHTLY
def test_job_type_of_a_block_is_the_users_word(make_manager: MakeManager, tmp_path: Path) -> None:
    with wandb_config(job_type="evaluation"), make_manager():
        pass

    assert recorded(tmp_path).job_type == "evaluation"


def test_run_that_is_continued_keeps_its_job_type(make_manager: MakeManager, tmp_path: Path) -> None:
    with make_manager(id="the-run", job_type="evaluation"):
        pass
    with make_manager(id="the-run"):
        pass

    assert [run.job_type for run in all_recorded(tmp_path)] == ["evaluation", ""]  # empty: as it is


GROUPS = {"experiment": "of the argument", "group": "of cfg", "block": "of the block", "variable": "of the variable"}


@pytest.mark.parametrize("left_out", [0, *(pytest.param(number, marks=NIGHTLY) for number in (1, 2)), 3, 4])
def test_group_is_the_arguments_or_that_of_cfg_or_the_blocks_or_the_variables(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch, left_out: int
) -> None:
    given = dict(list(GROUPS.items())[left_out:])
    monkeypatch.setenv("EXPERIMENT_GROUP_NAME", given.get("variable", ""))
    section = {"group": given["group"]} if "group" in given else {}
    expected = next(iter(given.values()), None)

    with (
        wandb_config(group=given.get("block")),
        make_manager("job", given.get("experiment"), **section) as manager,
    ):
        assert (manager.run.group or None) == expected
        exported = (os.environ.get("WANDB_RUN_GROUP"), os.environ.get("EXPERIMENT_GROUP_NAME"))
        assert [name or None for name in exported] == [expected, expected]


@pytest.mark.parametrize("of_user", [pytest.param(None, marks=NIGHTLY), "the user's"])
def test_group_and_entity_of_another_manager_are_not_this_ones(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch, of_user: str | None
) -> None:
    if of_user:
        monkeypatch.setenv("EXPERIMENT_GROUP_NAME", of_user)
    with make_manager("a", "exp-1", entity="team"), make_manager("b", "exp-2"), make_manager("c") as manager:
        assert (manager.run.group or None) == of_user
        assert manager.run.entity != "team"


def test_handoff_is_exported_and_the_environment_put_back(make_manager: MakeManager) -> None:
    before = dict(os.environ)
    manager = make_manager("job", "exp-1", entity="team", api_key=API_KEY)

    run, _ = manager.initialize()
    handoff = Handoff.from_env()

    assert handoff
    assert (handoff.run_id, handoff.project, handoff.state, handoff.mode) == (run.id, "demo", "open", "offline")
    exported = {name: os.environ[name] for name in os.environ if before.get(name) != os.environ[name]}
    assert exported.pop("WANDB_SERVICE")  # wandb's own
    assert exported.keys() == {
        "WANDB_RUN_ID",
        "WANDB_PROJECT",
        "WANDB_ENTITY",
        "WANDB_RUN_GROUP",
        "EXPERIMENT_GROUP_NAME",
        "WANDB_API_KEY",
        HANDOFF_VARIABLE,
    }
    assert exported["EXPERIMENT_GROUP_NAME"] == exported["WANDB_RUN_GROUP"] == "exp-1"
    assert API_KEY not in exported[HANDOFF_VARIABLE]

    manager.finish()
    assert dict(os.environ) == before


def test_environment_is_put_back_to_what_somebody_else_had_set(
    make_manager: MakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_RUN_ID", "their-run")
    before = dict(os.environ)

    with make_manager() as manager:
        assert manager.run.id == "their-run"  # a run that is named is continued
        assert os.environ["WANDB_PROJECT"] == "demo"  # and cfg says more than the environment

    assert dict(os.environ) == before


def test_offline_the_run_stays_open_for_the_training(make_manager: MakeManager) -> None:
    with make_manager() as manager:
        run = manager.run
        run.config.update({"lr0": 0.5})

        manager.prepare_for_training()

        handoff = Handoff.from_env()
        assert handoff
        assert (handoff.state, handoff.config_keys) == ("open", ("lr0",))
        assert manager.resume_after_training() is run
        assert manager.resume_run() is run


def test_second_manager_never_touches_the_first_ones_run(make_manager: MakeManager, tmp_path: Path) -> None:
    with make_manager("first") as first:
        first.run.log({"x": 1})
        with make_manager("second") as second:
            assert second.run.id != first.run.id
            second.run.log({"x": 2})
        assert os.environ["WANDB_RUN_ID"] == first.run.id
        first.run.log({"x": 3})

    runs = {run.name: run for run in all_recorded(tmp_path)}
    assert [row["x"] for row in runs["first"].history] == [1, 3]
    assert [row["x"] for row in runs["second"].history] == [2]
    assert runs["first"].state == runs["second"].state == "finished"


def test_run_that_the_script_made_is_adopted_and_left_open(make_manager: MakeManager, tmp_path: Path) -> None:
    run = wandb.init(project="mine", mode="offline", dir=str(tmp_path))

    with make_manager() as manager:
        assert manager.run is run
        manager.prepare_for_training()

    run.log({"after": 1})
    run.finish()
    assert recorded(tmp_path).history[0]["after"] == 1


@NIGHTLY
def test_run_that_is_adopted_keeps_its_job_type(make_manager: MakeManager, tmp_path: Path) -> None:
    with wandb.init(project="demo", mode="offline", dir=tmp_path, job_type="evaluation"), make_manager() as manager:
        assert manager.run.job_type == "evaluation"

    assert recorded(tmp_path).job_type == "evaluation"


def test_exported_group_is_the_one_that_an_adopted_run_really_has(
    make_manager: MakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPERIMENT_GROUP_NAME", "ours")
    with wandb.init(project="demo", mode="offline", dir=tmp_path, group="theirs"), make_manager():
        assert os.environ["EXPERIMENT_GROUP_NAME"] == os.environ["WANDB_RUN_GROUP"] == "theirs"

    assert os.environ["EXPERIMENT_GROUP_NAME"] == "ours"
    assert "WANDB_RUN_GROUP" not in os.environ


@NIGHTLY
def test_script_that_the_job_starts_logs_into_the_jobs_run(run_job: RunJob) -> None:
    job = run_job("nested_jobs.py", "outer")

    assert [row["outer"] for row in job.run.history] == [1, 1, 2, 2]
    assert job.run.state == "finished"


@pytest.mark.parametrize(
    ("error", "state", "exit_code"),
    [
        pytest.param(RuntimeError, "failed", 1, marks=NIGHTLY),
        (SystemExit(3), "failed", 3),
        pytest.param(SystemExit(0), "finished", 0, marks=NIGHTLY),
        pytest.param(KeyboardInterrupt, "failed", 255, marks=NIGHTLY),
    ],
)
def test_exception_becomes_the_runs_exit_code(
    make_manager: MakeManager, tmp_path: Path, error: BaseException | type[BaseException], state: str, exit_code: int
) -> None:
    with pytest.raises(BaseException), make_manager():  # noqa: B017, PT011  # every kind of exception
        raise error

    run = recorded(tmp_path)
    assert (run.state, run.exit_code) == (state, exit_code)


def test_finish_twice_is_harmless_and_keeps_the_first_exit_code(make_manager: MakeManager, tmp_path: Path) -> None:
    with make_manager() as manager:
        manager.finish(exit_code=7)
        manager.finish()

    assert recorded(tmp_path).exit_code == 7


def test_key_from_netrc_is_redacted_as_well(make_manager: MakeManager, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {API_KEY}\n")
    netrc.chmod(0o600)

    with make_manager() as manager:
        manager.save_config({"copied": API_KEY})
        file = Path(manager.run.dir) / "configs/training-job-config.yaml"

    assert file.read_text() == "copied: '[redacted]'\n"


@NIGHTLY
def test_two_jobs_on_one_machine_never_share_a_config_file(make_manager: MakeManager) -> None:
    with make_manager("first") as first, make_manager("second") as second:
        first.save_config({"job": 1})
        second.save_config({"job": 2})
        files = [Path(manager.run.dir) / "configs/training-job-config.yaml" for manager in (first, second)]

    assert [file.read_text() for file in files] == ["job: 1\n", "job: 2\n"]


@NIGHTLY
def test_training_artifacts_with_a_path_that_does_not_exist(make_manager: MakeManager, tmp_path: Path) -> None:
    with make_manager() as manager, pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        manager.save_training_artifacts(tmp_path / "nowhere.yaml")


@NIGHTLY
def test_training_artifacts_with_two_files_of_one_name(make_manager: MakeManager, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "data.yaml").write_text("")

    with make_manager() as manager, pytest.raises(ValueError, match="rename one"):
        manager.save_training_artifacts(tmp_path / "a/data.yaml", tmp_path / "b/data.yaml")


def test_disabled_run_does_nothing_and_fails_nowhere(make_manager: MakeManager, tmp_path: Path) -> None:
    with make_manager(mode="disabled") as manager:
        manager.save_config({"a": 1})
        manager.save_training_job_metadata({"a": 1})
        manager.prepare_for_training()
        manager.resume_after_training()
        manager.run.log({"x": 1})

    assert find_run_files(tmp_path) == []
    assert "WANDB_SERVICE" not in os.environ  # where the next wandb.init would look for it
