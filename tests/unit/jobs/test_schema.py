"""What a job may hold, and what is said of a wrong one before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from support.paths import TINY
from ultralytics_wb_ddp import ConfigurationError, wandb_config
from ultralytics_wb_ddp.jobs.schema import Job


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    """The smallest job."""
    return {"wandb": {"project": "demo"}, "model": "yolo11n.yaml", "train": {"data": "coco8.yaml"}}


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
