"""``wandb_init``: its options, the functions that it decorates, and the id that all ranks know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from ultralytics_wb_ddp import ConfigurationError, wandb_init
from ultralytics_wb_ddp.config.options import RunOptions
from ultralytics_wb_ddp.program import WandbInit
from ultralytics_wb_ddp.runs.handoff import Handoff
from ultralytics_wb_ddp.runs.rank_runs import check_base, find_base

STORE = {"MASTER_ADDR": "node1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"projct": "demo"}, "wandb_init: 'projct' is unknown; did you mean 'project'"),
        ({"run_mode": "every"}, "wandb_init: run_mode='every' is unknown; choose one of auto, new, shared"),
        ({"strategy": "all", "run_mode": "auto"}, "strategy='all' means run_mode='new', but run_mode='auto' is given"),
        ({"id": "a/b"}, "wandb_init: id='a/b': W&B refuses / in a run id; use letters, digits"),
        ({"resume": "allow"}, "an existing run of the id is continued; give id= alone"),
        ({"keep_open": True}, "a manager and a job take it in cfg.wandb.keep_open"),
        ({"config": "lr=0.1"}, "config='lr=0.1': a mapping of names and values is expected; use vars"),
    ],
)
def test_bad_option_is_refused_before_the_block_is_entered(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        wandb_init(**options)

    assert message in str(refused.value)


class NotAFunction:
    """A class, whose body is no program."""


def rows() -> Iterator[int]:
    yield 1


async def later_rows() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("demo", "'demo' cannot be decorated: it is no function; name the options, as in wandb_init"),
        (NotAFunction, "it is no function"),
        (rows, "the body of a generator runs after the call; use 'with wandb_init(...):' inside of it"),
        (later_rows, "the body of a generator runs after the call"),
    ],
)
def test_only_a_function_is_decorated(function: Any, message: str) -> None:
    for decorate in (wandb_init, wandb_init(project="demo")):
        with pytest.raises(ConfigurationError) as refused:
            decorate(function)

        assert message in str(refused.value)


def train(times: int) -> int:
    """Train."""
    return times


def test_decorated_function_keeps_its_name_and_documentation() -> None:
    for decorated in (wandb_init(train), wandb_init(project="demo")(train)):
        assert (decorated.__name__, decorated.__doc__) == ("train", "Train.")


@pytest.fixture
def _damaged_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "first")


@pytest.mark.usefixtures("_damaged_environment")
def test_damaged_environment_is_refused_by_each_form_and_leaves_no_block_open() -> None:
    @wandb_init(project="demo")
    async def train_later() -> None:
        """Never entered."""

    for _ in range(2):  # the second is not nested in the first
        with pytest.raises(ConfigurationError, match="RANK='first'"), wandb_init(project="demo"):
            pass
    with pytest.raises(ConfigurationError, match="RANK='first'"):
        wandb_init(train)(1)
    with pytest.raises(ConfigurationError, match="RANK='first'"):
        asyncio.run(train_later())


def test_api_key_is_not_shown() -> None:
    block = wandb_init(project="demo", api_key="5ec2e7")

    assert isinstance(block, WandbInit)
    assert repr(block) == "wandb_init(project='demo', api_key='[redacted]')"


@pytest.mark.parametrize(
    ("run_id", "env", "known"),
    [
        ("mine", {"WANDB_RUN_ID": "theirs", **STORE}, "mine"),
        (None, {"WANDB_RUN_ID": "theirs", **STORE}, "theirs"),
        (None, {"TORCHELASTIC_RUN_ID": "job-7", **STORE}, None),
        (None, {"TORCHELASTIC_RUN_ID": "job-7"}, "job-7"),
        (None, {"TORCHELASTIC_RUN_ID": "job-7", "TORCHELASTIC_RESTART_COUNT": "0"}, "job-7"),
        (None, {"TORCHELASTIC_RUN_ID": "job-7", "TORCHELASTIC_RESTART_COUNT": "2"}, "job-7-2"),
        (None, {"TORCHELASTIC_RUN_ID": "none"}, None),
        (None, {}, None),
    ],
)
def test_all_ranks_know_an_id_that_the_user_or_the_launch_gives(
    run_id: str | None, env: dict[str, str], known: str | None
) -> None:
    base = find_base(run_id, RunOptions(project="demo"), env)

    assert (base and base.run_id) == known


def test_torchruns_id_is_changed_to_one_that_wandb_takes() -> None:
    base = find_base(None, RunOptions(), {"TORCHELASTIC_RUN_ID": "a/b"})

    assert base
    assert base.run_id.startswith("a_b-")


def test_several_ranks_that_log_need_a_store_or_an_id() -> None:
    check_base(None, {}, others_log=False)
    check_base(None, STORE, others_log=True)
    check_base(Handoff("known"), {}, others_log=True)

    with pytest.raises(ConfigurationError, match=r"MASTER_ADDR and MASTER_PORT are not set: .*; launch with torchrun"):
        check_base(None, {}, others_log=True)
