"""What each rank measures of itself stands in the one run, and nobody is waited for."""

from __future__ import annotations

import pickle
import socket
import threading
import time

import pytest
import torch.distributed as dist

from support.jobs import NIGHTLY, Job, RunJob
from ultralytics_wb_ddp.distributed.rank_store import RankStore
from ultralytics_wb_ddp.metrics.rank_metrics import ranks_row

NUMBERS = {"images_per_second", "data_wait", "validation", "loss"}


def test_row_holds_each_rank_and_how_far_they_are_apart() -> None:
    assert ranks_row({0: {"loss": 1.0, "data_wait": 0.5}, 2: {"loss": 4.0}}) == {
        "ranks/0/loss": 1.0,
        "ranks/0/data_wait": 0.5,
        "ranks/2/loss": 4.0,
        "ranks/spread/loss": 3.0,
        "ranks/spread/data_wait": 0.0,
    }


def test_every_epoch_has_the_numbers_of_its_ranks(usage_c: Job) -> None:
    rows = usage_c.run.rows("ranks/0/loss")

    assert [row["epoch"] for row in rows] == [1, 2]
    for row in rows:
        assert {key.removeprefix("ranks/0/") for key in row if key.startswith("ranks/0/")} == NUMBERS
        assert row["ranks/0/images_per_second"] > 0
        assert row["ranks/0/validation"] > 0
    reported = [row for row in rows if "ranks/1/loss" in row]
    assert reported  # a rank that reports late is left out
    assert all(row["ranks/spread/loss"] == abs(row["ranks/0/loss"] - row["ranks/1/loss"]) > 0 for row in reported)
    losses = [sum(row[f"train/{part}_loss"] for part in ("box", "cls", "dfl")) for row in rows]
    assert [row["ranks/0/loss"] for row in rows] == pytest.approx(losses, abs=1e-3)


def test_waiting_for_data_and_a_rank_that_hangs_are_seen_and_delay_no_row(run_job: RunJob) -> None:
    """Rank 1 is slow to load its images, and says nothing of its second epoch."""
    job = run_job(
        """
        import time
        def be_slow(trainer):
            if os.environ["RANK"] == "1" and trainer.epoch == 0:
                load = trainer.train_loader.dataset.__class__.__getitem__
                def load_slowly(dataset, index):
                    time.sleep(0.1)
                    return load(dataset, index)
                trainer.train_loader.dataset.__class__.__getitem__ = load_slowly
        def fall_silent(trainer):
            if os.environ["RANK"] == "1" and trainer.epoch == 1:
                for functions in trainer.callbacks.values():
                    functions[:] = [function for function in functions if "WandbCallback" not in repr(function)]
        model.add_callback("on_train_epoch_start", be_slow)
        model.add_callback("on_train_epoch_end", fall_silent)
        add_wandb_callback(model)
        model.train(**TWO_PROCESSES)
        """
    )

    first, second = job.run.rows("ranks/0/loss")
    assert first["ranks/1/data_wait"] > 0.5 > first["ranks/0/data_wait"]
    assert first["ranks/spread/data_wait"] == first["ranks/1/data_wait"] - first["ranks/0/data_wait"]
    assert not [key for key in second if key.startswith("ranks/1/")]


@NIGHTLY
def test_numbers_of_ranks_can_be_switched_off(run_job: RunJob) -> None:
    job = run_job("""
        add_wandb_callback(model, rank_metrics=False)
        model.train(**{**TWO_PROCESSES, "epochs": 1})
    """)

    assert not [key for row in job.run.history for key in row if key.startswith("ranks/")]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dist.TCPStore:
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    return server


@pytest.mark.usefixtures("store")
def test_what_a_rank_puts_the_others_find() -> None:
    here, there = RankStore("training"), RankStore("training")

    here.write("a", {"loss": 1.5})

    assert there.wait(["a"], 5) == {"a": {"loss": 1.5}}
    assert there.read(["a", "b"], 5) == {"a": {"loss": 1.5}}
    assert RankStore("another training").read(["a"], 5) == {}


@pytest.mark.usefixtures("store")
def test_what_is_asked_for_ahead_is_there_without_waiting() -> None:
    here, there = RankStore("training"), RankStore("training")
    question = there.read_async(["a", "b"], 60)

    here.write("a", 1)
    here.write("b", 2)
    deadline = time.monotonic() + 10
    while not question.is_answered and time.monotonic() < deadline:
        time.sleep(0.01)

    assert question.result(0) == {"a": 1, "b": 2}
    assert there.read_async(["a", "c"], 60).result(0.2) == {"a": 1}, "c never comes: what there is, after the time"


@pytest.mark.usefixtures("store")
def test_function_is_called_once_its_key_exists() -> None:
    here, there = RankStore("training"), RankStore("training")
    called = threading.Event()
    there.call_when("a", called.set)

    assert there.read(["b"], 5) == {}, "other jobs are not held up"
    assert not called.is_set()
    here.write("a", 1)

    assert called.wait(10)


@pytest.mark.usefixtures("store")
def test_function_is_not_called_after_parting() -> None:
    here, there = RankStore("training"), RankStore("training")
    called = threading.Event()
    there.call_when("a", called.set)
    there.close()

    here.write("a", 1)
    here.close()

    assert not called.wait(0.5)


@pytest.mark.usefixtures("store")
def test_what_is_put_before_parting_arrives(store: dist.TCPStore) -> None:
    here = RankStore("training")
    here.write("a", 1)
    here.close()

    assert pickle.loads(store.get("ultralytics_wb_ddp/0/training/a")) == 1


def test_store_that_is_gone_has_nothing_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(unused.getsockname()[1]))
        lost = RankStore("training")

        lost.write("a", 1)

        assert lost.read(["a"]) == {}


def test_without_a_launch_there_is_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)

    assert RankStore("training").wait(["a"], 60) == {}
