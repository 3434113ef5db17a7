"""Which values are secrets, and plain forms of any config."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from ultralytics_wb_ddp.utils.serialization import redact, to_plain


@pytest.mark.parametrize(
    "key",
    [
        "api_key", "apiKey", "WANDB_API_KEY", "apikey", "hf-token", "token", "clientSecret", "aws_secret_access_key",
        "password", "db_passwd", "credentials", "private_key", "accessKey", "api_keys", "secretkey", "pwd", "Authorization",
    ],
)  # fmt: skip
def test_value_of_a_secrets_key_is_redacted_however_deep(key: str) -> None:
    assert redact({"a": [{"b": {key: "hush"}}]}) == {"a": [{"b": {key: "[redacted]"}}]}


@pytest.mark.parametrize("key", ["num_tokens", "tokenizer", "keypoints", "monkey", "key", "secretary", "passes"])
def test_key_that_only_looks_like_a_secrets_stays(key: str) -> None:
    assert redact({key: "shown"}) == {key: "shown"}


def test_key_in_use_is_redacted_wherever_it_stands() -> None:
    plain = {"url": "https://user:k3y@host", "list": ["k3y"], "k3y": 1, "other": None}

    assert redact(plain, ["k3y", None]) == {
        "url": "https://user:[redacted]@host",
        "list": ["[redacted]"],
        "[redacted]": 1,
        "other": None,
    }


def test_to_plain_keeps_interpolations_and_gives_values_that_yaml_lacks_their_names() -> None:
    class Colour(Enum):
        RED = 1

    cfg = OmegaConf.create({"secret": "${oc.env:NOT_SET}", "a": {"b": 1}})

    assert to_plain(cfg) == {"secret": "${oc.env:NOT_SET}", "a": {"b": 1}}
    assert to_plain({"path": Path("x/y"), "enum": Colour.RED, "set": {1}, "none": None, 3: 1.5}) == {
        "path": str(Path("x/y")),
        "enum": "RED",
        "set": [1],
        "none": None,
        3: 1.5,
    }
