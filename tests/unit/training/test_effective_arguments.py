"""The arguments in a run's config are those that the trainer uses."""

from __future__ import annotations

from types import SimpleNamespace

from ultralytics_wb_ddp.training.training_logger import effective_arguments


def test_arguments_are_those_that_the_trainer_goes_by() -> None:
    args = SimpleNamespace(epochs=3, batch=-1, optimizer="auto", lr0=0.01, val=True)
    groups = [{"initial_lr": 0.002}, {"initial_lr": 0.006}]
    adam = type("AdamW", (), {"param_groups": groups})()

    starting = effective_arguments(SimpleNamespace(args=args))
    training = effective_arguments(SimpleNamespace(args=args, epochs=5, batch_size=16, optimizer=adam))

    assert starting == vars(args)
    assert training == {"epochs": 5, "batch": 16, "optimizer": "AdamW", "lr0": 0.002, "val": True}
