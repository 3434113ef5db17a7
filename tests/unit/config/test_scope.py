"""Settings for everything inside a block: their order, and the reach of a block."""

from __future__ import annotations

import asyncio
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError, WandbCallback, wandb_config
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.runs.resolution import logging_ranks


def project() -> str | None:
    return WandbCallback().options.project


def test_block_gives_defaults_to_what_is_made_inside() -> None:
    with wandb_config(project="demo", entity="team", tags=["a"], run_mode="new", rank_scope="worker"):
        inside = WandbCallback().options

    assert (inside.project, inside.entity, inside.tags) == ("demo", "team", ("a",))
    assert (inside.run_mode, inside.rank_scope) == ("new", "worker")
    assert WandbCallback().options == RunOptions()


def test_argument_wins_over_block_and_block_over_default() -> None:
    with wandb_config(project="block", mistakes=3):
        options = WandbCallback(project="argument").options

    assert (options.project, options.mistakes, options.checkpoints) == ("argument", 3, "best")


def test_inner_block_wins_and_the_outer_one_is_back_after_it() -> None:
    with wandb_config(project="outer", entity="team"):
        with wandb_config(project="inner"):
            options = WandbCallback().options
        with pytest.raises(ZeroDivisionError), wandb_config(project="failing"):
            _ = 1 / 0
        assert project() == "outer"

    assert (options.project, options.entity) == ("inner", "team")


def test_strategy_and_its_parts_win_over_each_other() -> None:
    with wandb_config(strategy="all"), wandb_config(rank_scope="worker"):
        assert logging_ranks(WandbCallback().options, None, {}) == ("new", "worker")
        assert logging_ranks(WandbCallback(strategy="main").options, None, {}) == ("auto", "global")
        with wandb_config(strategy="node"):
            assert logging_ranks(WandbCallback().options, None, {}) == ("auto", "worker")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prject": "demo"}, "wandb_config: 'prject' is unknown; did you mean 'project'?"),
        ({"run_mode": "all"}, "wandb_config: run_mode='all' is unknown"),
        ({"project": "a/b"}, "W&B refuses /"),
        ({"strategy": "all", "run_mode": "auto"}, "leave one out"),
    ],
)
def test_wrong_option_is_refused_before_the_block_begins(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        wandb_config(**options)

    assert words in str(refused.value)


def test_decorator_is_a_block_around_each_call() -> None:
    decorate = wandb_config(project="decorated")

    @decorate
    def plain() -> str | None:
        return project()

    @decorate
    async def later() -> str | None:
        await asyncio.sleep(0)
        return project()

    assert (plain(), asyncio.run(later()), plain.__name__) == ("decorated", "decorated", "plain")
    assert project() is None


def test_thread_is_inside_the_block_if_it_runs_in_its_context() -> None:
    with wandb_config(project="demo"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(copy_context().run, project).result() == "demo"
        assert pool.submit(project).result() is None


def test_threads_at_the_same_time_do_not_see_each_others_blocks() -> None:
    all_are_inside = threading.Barrier(4, timeout=10)

    def look(name: str) -> tuple[str | None, str | None, str | None]:
        with wandb_config(project=name):
            all_are_inside.wait()
            with ThreadPoolExecutor(1) as pool:
                grandchild = pool.submit(copy_context().run, project).result()
            all_are_inside.wait()
            mine = project()
        return mine, grandchild, WandbCallback().options.entity

    with wandb_config(entity="team"), ThreadPoolExecutor(4) as pool:
        seen = [each.result() for each in [pool.submit(copy_context().run, look, name) for name in "abcd"]]

    assert seen == [(name, name, "team") for name in "abcd"]


def test_tasks_of_asyncio_do_not_see_each_others_blocks() -> None:
    async def look(name: str) -> str | None:
        with wandb_config(project=name):
            await asyncio.sleep(0)
            return await asyncio.to_thread(project)

    async def look_twice() -> list[str | None]:
        return list(await asyncio.gather(look("a"), look("b")))

    assert asyncio.run(look_twice()) == ["a", "b"]


def test_callback_travels_with_the_block_that_it_is_launched_in() -> None:
    callback = WandbCallback(mistakes=3)
    with wandb_config(project="demo", mistakes=5, checkpoints="none"):
        arrived = pickle.loads(pickle.dumps(callback))

    assert arrived.options == RunOptions(project="demo", mistakes=3, checkpoints="none")


def test_api_key_of_a_block_is_neither_shown_nor_pickled() -> None:
    block = wandb_config(project="demo", api_key="hunter22")

    assert "hunter22" not in repr(block)
    assert b"hunter22" not in pickle.dumps(block)
