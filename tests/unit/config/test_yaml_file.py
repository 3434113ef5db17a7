"""Files of YAML: overrides of the command line, and what cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.config.yaml_file import read_config, yaml_errors_as_user_errors


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
