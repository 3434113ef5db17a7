"""Jobs from a file: what they may hold, what they do, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from omegaconf import OmegaConf
from wandb_server import WandbServer

from support.jobs import NIGHTLY, LaunchAgents, job_environment, run_command
from support.paths import EXAMPLES, TINY
from support.s3_service import S3Service
from ultralytics_wb_ddp import ConfigurationError, TrainingState, wandb_config
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.cli.train import describe_job
from ultralytics_wb_ddp.config.yaml_file import read_config, yaml_errors_as_user_errors
from ultralytics_wb_ddp.jobs.checks import doctor_request_for
from ultralytics_wb_ddp.jobs.schema import Job
from ultralytics_wb_ddp.wandb_client.run_file import RecordedRun, find_run_files, read_run

EXAMPLE = EXAMPLES / "job.yaml"
KEY = "hunter22" * 5

# The example in the size of a test.
SMALL = ["wandb.mode=offline", f"model={TINY}", "train.epochs=2", "train.imgsz=64", "train.batch=8", "train.workers=0"]
SMALL += ["train.plots=false", "train.deterministic=false"]
TWO_PROCESSES = ["train.trainer=ultralytics_wb_ddp.testing:CpuDDPTrainer"]  # the example names two devices
ONE_PROCESS = ["train.device=cpu"]


def run_example(
    directory: Path, shapes: Path, *overrides: str, timeout: float = 300, **env: str
) -> subprocess.CompletedProcess[str]:
    places = [f"train.data={shapes}", f"train.project={directory / 'runs'}"]
    return run_command(directory, "train", str(EXAMPLE), *SMALL, *places, *overrides, timeout=timeout, **env)


def runs_below(directory: Path) -> list[RecordedRun]:
    return [read_run(file) for file in find_run_files(directory)]


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """The smallest job."""
    return {"wandb": {"project": "demo"}, "model": "yolo11n.yaml", "train": {"data": "coco8.yaml"}}


def test_example_is_one_run_with_config_inputs_and_outputs(tmp_path: Path, shapes: Path, s3: S3Service) -> None:
    bucket = s3.make_bucket()
    output = f"{{upload: weights/best.pt, s3: 's3://{bucket}/${{name}}/best.pt', name: final_model, aliases: [new]}}"
    done = run_example(
        tmp_path,
        shapes,
        *TWO_PROCESSES,
        "wandb.api_key=${oc.env:MY_KEY}",
        f"artifacts.inputs=[{TINY}]",
        f"artifacts.outputs=[{output}]",
        MY_KEY=KEY,
        **s3.environment,
    )

    assert done.returncode == 0, done.stderr[-5000:]
    (run,) = runs_below(tmp_path)
    assert (run.state, run.exit_code) == ("finished", 0)
    assert (run.project, run.name, run.group, run.tags) == ("demo", "coco8-baseline", "baselines", ("baseline",))
    assert [row["epoch"] for row in run.history if "epoch" in row] == [1, 2, 2, 2]
    artifacts = {artifact.name: artifact for artifact in run.artifacts}
    assert artifacts[f"run_{run.id}_training_inputs"].type == "training-inputs"
    assert "new" in artifacts["final_model"].aliases
    best = tmp_path / "runs/coco8-baseline/weights/best.pt"
    assert s3.get(bucket, "coco8-baseline/best.pt") == best.read_bytes()
    assert TrainingState.of(best).is_over
    assert not TrainingState.of(best).is_run_open
    (stored,) = (tmp_path / "wandb").rglob("training-job-config.yaml")
    assert OmegaConf.load(stored).train.epochs == 2
    assert "name: ${name}" in stored.read_text(encoding="utf-8")
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [file for file in files if KEY.encode() in file.read_bytes()] == []


def test_failed_training_is_a_failed_run_and_exit_code_without_a_stack_trace(tmp_path: Path, shapes: Path) -> None:
    incomplete = tmp_path / "incomplete.yaml"
    incomplete.write_text(shapes.read_text().replace("train: images/train", "train: images/nowhere"), encoding="utf-8")

    done = run_example(tmp_path, incomplete, *ONE_PROCESS)

    assert done.returncode == 1
    assert "Error: FileNotFoundError: " in done.stderr
    assert "images/nowhere" in done.stderr.partition("Error: FileNotFoundError: ")[2]
    assert "Traceback" not in done.stderr
    (run,) = runs_below(tmp_path)
    assert (run.state, run.exit_code) == ("failed", 1)


def test_dry_run_says_what_will_happen_and_starts_nothing(tmp_path: Path, shapes: Path) -> None:
    done = run_example(tmp_path, shapes, *TWO_PROCESSES, "--dry-run")

    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "job coco8-baseline of group baselines",
        "trains in 2 processes on this machine, which Ultralytics launches, with CpuDDPTrainer",
        "epochs=2",
        "project demo of the default entity",
        "processes 2 processes; only rank 0 logs",
        "offline: nothing is sent",
        "ok others python",
    ):
        assert words in " ".join(done.stdout.split())
    assert "a run that the script has created" not in " ".join(done.stdout.split()), "there is no script"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "yolo"]


def test_mistake_in_a_job_is_an_exit_code_and_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["train", str(EXAMPLE), *SMALL, "train.epocs=3"])

    assert result.exit_code == 1
    assert result.output.splitlines()[-1].startswith("Error: train: 'epocs' is no training argument")
    assert isinstance(result.exception, SystemExit)
    assert runs_below(tmp_path) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"modell": "x"}, "the job: 'modell' is unknown; did you mean 'model'?"),
        ({"epochs": 5}, "the job: 'epochs' is unknown; did you mean 'train.epochs'?"),
        ({"project": "a"}, "did you mean 'wandb.project'?"),
        ({"name": 5}, "name=5: a string is expected"),
        ({"wandb": {"project": None, "projekt": "a"}}, "wandb: 'projekt' is unknown; did you mean 'project'?"),
        ({"wandb": {"prject": "a"}}, "wandb: 'prject' is unknown; did you mean 'project'?"),
        ({"wandb": {"mode": "onlin"}}, "wandb.mode='onlin' is unknown; choose one of online"),
        ({"wandb": {"project": None}}, "wandb.project is missing"),
        ({"train": {"epocs": 5}}, "did you mean 'epochs'?"),
        ({"train": {"epochs": "many"}}, "train.epochs: "),
        ({"train": {"optimizer": "Addam"}}, "train.optimizer='Addam' is unknown to Ultralytics"),
        ({"train": {"optimizer": "Qwertz"}}, "choose one of Adam, "),
        ({"train": {"model": "x.pt"}}, "a job has it in model"),
        ({"train": {"data": None}}, "train.data is missing"),
        ({"train": {"data": "coco88.yaml"}}, "train.data='coco88.yaml': there is no such file"),
        ({"train": {"data": "folder/shapes"}}, "train.data='folder/shapes': there is no such file"),
        ({"train": {"data": [1]}}, "train.data=[1]: 1 is no dataset; name a data YAML"),
        ({"train": {"data": str(TINY.parent)}}, f"train.data='{TINY.parent}' is refused by Ultralytics: "),
        ({"train": {"data": str(TINY.parent)}, "model": "yolo11n-cls.yaml"}, "has no directory 'train'"),
        ({"train": {"data": "coco8.yaml"}, "model": "yolo11n-cls.pt"}, "is a data YAML, and a model that classifies"),
        ({"train": {"data": "???"}}, "train.data is ???, to be given when the job is run"),
        ({"train": {"trainer": "nowhere:Trainer"}}, "train.trainer='nowhere:Trainer': No module named 'nowhere'"),
        ({"train": {"trainer": "pathlib:Path"}}, "train.trainer='pathlib:Path' is no trainer of Ultralytics"),
        ({"train": 5}, "train=5: a section of 'name: value' lines is expected"),
        ({"model": None}, "model is missing"),
        ({"model": "yolo11nn.pt"}, "did you mean 'yolo11n.pt'?"),
        ({"model": "nothing.yaml"}, "model='nothing.yaml': there is no such file"),
        ({"model": {"wieghts": "a"}}, "model: 'wieghts' is unknown; did you mean 'weights'?"),
        ({"model": {"weights": "yolo11n.yaml", "task": "detekt"}}, "model.task='detekt': it is unknown; choose one of"),
        ({"parallel": {"backend": "glo"}}, "did you mean 'gloo'?"),
        ({"artifacts": {"input": []}}, "artifacts: 'input' is unknown; did you mean 'inputs'?"),
        ({"artifacts": {"inputs": ["nowhere"]}}, "artifacts.inputs[0]='nowhere': it does not exist"),
        ({"artifacts": {"inputs": [str(TINY), str(TINY)]}}, "have the same name"),
        ({"artifacts": {"inputs": 5}}, "artifacts.inputs=5: a list, each item with a '-' before it, is expected"),
        ({"artifacts": {"outputs": [{"s3": "s3://a/b"}]}}, "artifacts.outputs[0].name is missing"),
        ({"artifacts": {"outputs": [{"s3": "a", "name": "b"}]}}, "artifacts.outputs[0].s3='a': 'a' is no S3 path"),
        ({"artifacts": {"outputs": [{"s3": "s3://a/b", "nam": 1}]}}, "did you mean 'name'?"),
        ({"artifacts": {"outputs": [{"s3": "s3://a/b", "name": "b", "aliases": "v1"}]}}, "'v1'"),
    ],
)
def test_what_is_wrong_with_a_job_is_said_before_it_starts(
    job: dict[str, Any], overrides: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Job.from_cfg(OmegaConf.merge(job, overrides) if "???" not in str(overrides) else {**job, **overrides})

    assert words in str(refused.value)
    assert "cfg" not in str(refused.value), "a file has no cfg"


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["parallel.world_size=4", "train.device=[0,1]"],
            "parallel.world_size=4 contradicts device=[0, 1], which means 2 processes",
        ),
        (["parallel.world_size=3", "train.device=cpu"], "contradicts device='cpu', which means one process"),
        (["parallel.rank=0"], "rank is 0 and the number of processes is unknown"),
        (["parallel.master_addr=node7"], "parallel.master_addr='node7' is for several nodes, and RANK is missing"),
        (["parallel.output_device=0"], "parallel.output_device=0 is for processes on GPUs"),
        (["train.device=[90,91]"], "asks for 2; "),
        (["train.device=90"], "asks for 1; "),
        (["train.device=zero"], "'zero' is no device"),
        (["train.batch=-1"], "train.batch=-1: Ultralytics finds a size of batches in one process only"),
        (["train.resume=nowhere.pt"], "train.resume='nowhere.pt': there is no such file"),
        (["train.data=[1]"], "train.data=[1]: 1 is no dataset"),
        (["wandb.run_mode=shared", "wandb.mode=offline"], "W&B's shared mode needs its server"),
    ],
)
def test_dry_run_refuses_what_the_job_refuses(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    two = {"trainer": "ultralytics_wb_ddp.testing:CpuDDPTrainer", "device": "0,1"}
    train = {**job["train"], **({} if "device" in str(overrides) else two)}
    OmegaConf.save(OmegaConf.create({**job, "train": train}), tmp_path / "job.yaml")

    looked = CliRunner().invoke(main, ["train", "job.yaml", *overrides, "--dry-run"])
    ran = CliRunner().invoke(main, ["train", "job.yaml", *overrides])

    for done in (looked, ran):
        assert done.exit_code == 1
        assert words in " ".join(done.output.split())
    assert [file.name for file in tmp_path.iterdir()] == ["job.yaml"]


def test_dry_run_refuses_a_group_of_the_environment_that_is_too_long(
    job: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPERIMENT_GROUP_NAME", "g" * 129)
    OmegaConf.save(OmegaConf.create(job), tmp_path / "job.yaml")

    done = CliRunner().invoke(main, ["train", "job.yaml", "--dry-run"])

    assert done.exit_code == 1
    assert "has 129 characters" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("train: [", "cannot be read in line 2 (expected the node content); mend the YAML"),
        ("shapes", "holds no 'name: value' lines; it needs train, val and names"),
        ("train: a\nnames: [x]", "is refused by Ultralytics: "),
        ("train: a\nval: b", "either 'names' or 'nc' are required"),
        ("train: a\nval: b\nnames: [x]", "images not found, missing path"),
        ("train: a\nval: b\nnames: [x]\ndownload: https://example.com/shapes.zip", None),
    ],
)
def test_data_yaml_is_looked_at_before_a_job_starts(
    job: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, words: str | None
) -> None:
    data = tmp_path / "shapes.yaml"
    data.write_text(f"{text}\n", encoding="utf-8")
    cfg = {**job, "train": {"data": str(data)}}

    if words is None:
        assert Job.from_cfg(cfg).train["data"] == str(data)
    else:
        with pytest.raises(ConfigurationError) as refused:
            Job.from_cfg(cfg)
        assert str(refused.value).startswith(f"train.data='{data}' ")
        assert words in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_job_gets_what_it_leaves_open_from_a_block(job: dict[str, Any]) -> None:
    with wandb_config(project="block", name="block", group="block", keep_open=False, mistakes=3):
        bare = Job.from_cfg({**job, "wandb": None})
        full = Job.from_cfg({**job, "name": "mine", "group": "mine"})

    assert (bare.wandb.project, bare.wandb.name, bare.wandb.group, bare.name) == ("block", "block", "block", "job")
    assert (full.wandb.project, full.wandb.name, full.wandb.group, full.name) == ("demo", None, None, "mine")
    assert (full.wandb.mistakes, full.wandb.keep_open) == (3, False)
    assert Job.from_cfg(job).wandb.keep_open


def test_override_wins_over_the_file_and_interpolations_follow(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("name: a\ntrain: {epochs: 3, name: '${name}', lr0: 0.1}\n", encoding="utf-8")

    cfg = read_config(file, ["name=b", "train.epochs=5", "wandb.tags=[x,y]", "train.lr0=1e-3"])

    assert OmegaConf.to_container(cfg, resolve=True) == {
        "name": "b",
        "train": {"epochs": 5, "name": "b", "lr0": 0.001},
        "wandb": {"tags": ["x", "y"]},
    }


@pytest.mark.parametrize(
    ("text", "overrides", "words"),
    [
        ("a: 1", ["train.epochs"], "'train.epochs' is no KEY=VALUE"),
        ("a: 1", ["wandb.api_key=hunter22"], "wandb.api_key='${oc.env:WANDB_API_KEY}'"),
        ("a: 1", ["wandb={api_key: hunter22}"], "wandb.api_key='${oc.env:WANDB_API_KEY}'"),
        ("a: 1", ["wandb.tags=[hunter22"], "the value of wandb.tags cannot be read (expected ',' or ']'); it"),
        ("a: [", [], "line 2 cannot be read (expected the node content); mend the YAML"),
        ("a: 1\nhunter22\nb: 2", [], "job.yaml, line 2 cannot be read (expected ':'); mend the YAML"),
        ("a:\n\thunter22: 1", [], r"line 2 cannot be read (found character '\t' that cannot start any token); mend"),
        ("a: [hunter22\nb: 1", [], "line 2 cannot be read (expected ',' or ']' for what begins in line 1); mend"),
        ("a: !hunter22 1", [], "line 1 cannot be read (could not determine a constructor); mend"),
        ("a: &b 1\nc: *hunter22", [], "line 2 cannot be read (found undefined alias); mend"),
        ("a: \x07hunter22", [], "job.yaml cannot be read (special characters are not allowed); mend"),
        ("- a", [], "holds no sections"),
        ("a: ${oc.env:NOT_SET_ANYWHERE}", [], "setting a cannot be read"),
        ("a: ${oc.env:NOT_SET_ANYWHERE}", [], "set the variable NOT_SET_ANYWHERE"),
        ("a: hunter22 ${nowhere}", [], "there is no nowhere"),
    ],
)
def test_file_that_cannot_be_read_is_named_without_its_values(
    tmp_path: Path, text: str, overrides: list[str], words: str
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(f"{text}\n", encoding="utf-8")

    with pytest.raises(ConfigurationError) as refused, yaml_errors_as_user_errors(file):
        OmegaConf.to_container(read_config(file, overrides), resolve=True)

    assert words in str(refused.value)
    assert "hunter22" not in str(refused.value)


@pytest.mark.parametrize(
    ("train", "env", "words", "devices"),
    [
        ({}, {}, "in this process", []),
        ({"device": [0, 1]}, {}, "in 2 processes on this machine", ["0", "1"]),
        ({"device": "0,1,2"}, {}, "in 3 processes on this machine", ["0", "1", "2"]),
        (
            {},
            {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "0"},
            "as one rank of those that torchrun or srun has started",
            ["0", "1"],
        ),
    ],
)
def test_plan_says_where_the_training_will_run(
    job: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    train: dict[str, Any],
    env: dict[str, str],
    words: str,
    devices: list[str],
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    checked = Job.from_cfg({**job, "train": {**job["train"], **train}})

    assert words in dict(describe_job(checked))["trains"]
    assert doctor_request_for(checked).devices == devices


@NIGHTLY
def test_output_that_cannot_be_had_fails_the_job_and_keeps_no_other_back(
    tmp_path: Path, shapes: Path, s3: S3Service
) -> None:
    bucket = s3.make_bucket()
    missing = f"{{s3: 's3://{bucket}/nothing', name: missing}}"
    there = f"{{upload: weights, s3: 's3://{bucket}/weights', name: weights}}"
    done = run_example(tmp_path, shapes, *ONE_PROCESS, f"artifacts.outputs=[{missing},{there}]", **s3.environment)

    assert done.returncode == 1
    assert f"s3://{bucket}/nothing" in done.stderr.splitlines()[-1]
    (run,) = runs_below(tmp_path)
    assert (run.state, run.exit_code) == ("failed", 1)
    assert "weights" in {artifact.name for artifact in run.artifacts}
    assert {"weights/best.pt", "weights/last.pt"} <= set(s3.keys(bucket))


@NIGHTLY
def test_job_online_is_one_session_to_which_the_workers_attach(tmp_path: Path, shapes: Path) -> None:
    with WandbServer() as server:
        done = run_example(tmp_path, shapes, *TWO_PROCESSES, "wandb.mode=online", **server.environment)
        (run,) = server.runs

    assert done.returncode == 0, done.stderr[-5000:]
    assert (run.state, run.exit_code, run.sessions) == ("finished", 0, 1)
    assert [row["epoch"] for row in run.history if "epoch" in row] == [1, 2, 2, 2]


@NIGHTLY
def test_resumed_job_goes_on_in_its_run_once_its_rows_are_counted(tmp_path: Path, shapes: Path) -> None:
    checkpoint = tmp_path / "runs/coco8-baseline/weights/epoch0.pt"
    with WandbServer() as server:
        server.backend.count_lag = 25.0
        online = [*ONE_PROCESS, "wandb.mode=online"]
        begun = run_example(tmp_path, shapes, *online, "train.save_period=1", **server.environment)
        resumed = run_example(
            tmp_path, shapes, *online, f"model={checkpoint}", "train.resume=true", **server.environment
        )
        (run,) = server.runs

    assert (begun.returncode, resumed.returncode) == (0, 0), resumed.stderr[-5000:]
    assert (run.state, run.project) == ("finished", "demo")
    assert [row["epoch"] for row in run.history if "epoch" in row] == [1, 2, 2, 2, 2, 2, 2]


@NIGHTLY
def test_job_that_torchrun_has_started_is_one_run(launch_agents: LaunchAgents, shapes: Path, tmp_path: Path) -> None:
    words = ["train", str(EXAMPLE), *SMALL, *TWO_PROCESSES, f"train.data={shapes}", f"train.project={tmp_path}"]
    job = launch_agents(f"from ultralytics_wb_ddp.cli.main import main\nmain({json.dumps(words)})\n")

    assert job.exit_code == 0, job.output[-5000:]
    assert (job.run.state, job.run.name) == ("finished", "coco8-baseline")
    assert [row["epoch"] for row in job.run.history if "epoch" in row] == [1, 2, 2, 2]


@NIGHTLY
def test_failed_worker_is_a_failed_run_and_exit_code(tmp_path: Path, shapes: Path) -> None:
    weights = tmp_path / "broken.pt"
    weights.write_bytes(b"no checkpoint")
    done = run_example(tmp_path, shapes, *TWO_PROCESSES, f"train.pretrained={weights}")

    assert done.returncode == 1
    assert "the training ended with exit code 1" in done.stderr.splitlines()[-1]
    (run,) = runs_below(tmp_path)
    assert (run.state, run.exit_code) == ("failed", 1)


@NIGHTLY
def test_run_job_takes_a_plain_mapping(tmp_path: Path, shapes: Path) -> None:
    script = """
import sys
from ultralytics_wb_ddp import run_job, wandb_config

train = {"data": sys.argv[1], "epochs": 1, "imgsz": 64, "batch": 8, "workers": 0, "device": "cpu", "plots": False}
with wandb_config(project="block", mode="offline"):
    result = run_job({"model": sys.argv[2], "train": {**train, "project": "runs", "name": "x"}}, name="plain")
assert result.metrics.box.map >= 0
print(result.run_id, result.url, result.save_dir)
"""
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", script, str(shapes), str(TINY)],
        cwd=tmp_path,
        env=job_environment(tmp_path, shapes),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    (run,) = runs_below(tmp_path)
    assert (run.project, run.name, run.state) == ("block", "plain", "finished")
    assert f"{run.id} None " in done.stdout
