"""The store by which the ranks of a training exchange values, without one holding up another."""

from __future__ import annotations

import pickle
import socket
import threading
import time

import pytest
import torch.distributed as dist

from ultralytics_wb_ddp.distributed.parallel_config import find_free_port
from ultralytics_wb_ddp.distributed.rank_store import RankStore


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> dist.TCPStore:
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    return server


@pytest.mark.usefixtures("store")
def test_value_that_a_rank_writes_is_found_by_the_others() -> None:
    here, there = RankStore("training"), RankStore("training")

    here.write("a", {"loss": 1.5})

    assert there.wait(["a"], 5) == {"a": {"loss": 1.5}}
    assert there.read(["a", "b"], 5) == {"a": {"loss": 1.5}}
    assert RankStore("another training").read(["a"], 5) == {}


@pytest.mark.usefixtures("store")
def test_value_that_is_asked_for_ahead_is_there_without_waiting() -> None:
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
def test_value_that_is_written_before_parting_arrives(store: dist.TCPStore) -> None:
    here = RankStore("training")
    here.write("a", 1)
    here.close()

    assert pickle.loads(store.get("ultralytics_wb_ddp/0/training/a")) == 1


def test_store_that_is_gone_has_nothing_and_holds_up_no_rank(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_rank_0_keeps_the_store_until_pytorch_uses_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(find_free_port()))
    other = RankStore("program", connect_timeout=60)  # it comes first, and waits for rank 0
    first = RankStore("program", hosts=True)

    first.write("a", 1)
    found = other.wait(["a"], 60)
    first.close()
    dist.init_process_group("gloo", rank=0, world_size=1)
    dist.destroy_process_group()

    assert found == {"a": 1}
    assert other.read(["a"], 5) == {"a": 1}, "a rank may come late"
