"""Options that the callback does not take: the message names their place."""

from __future__ import annotations

from importlib import import_module

import pytest

from ultralytics_wb_ddp import ConfigurationError, WandbCallback


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (
            "id",
            "WANDB_RUN_ID and WANDB_PROJECT name a run to continue, and wandb.init(id=...) makes one to give as run=; a",
        ),
        ("api_key", "set WANDB_API_KEY or call 'wandb login'; a manager"),
        ("epochs", "it is an argument of the training: model.train(epochs=...), train.epochs in a job"),
        ("device", "it is an argument of the training"),
    ],
)
def test_option_of_something_else_is_told_its_place(name: str, place: str) -> None:
    import_module("ultralytics.utils")  # as every script that trains has

    with pytest.raises(ConfigurationError) as refused:
        WandbCallback(**{name: 1})  # type: ignore[arg-type]

    assert str(refused.value).startswith(f"add_wandb_callback: {name!r} has no place here: {place}")
