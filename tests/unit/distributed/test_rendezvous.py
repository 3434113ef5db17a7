"""Workers that notice that the store of their torchrun is gone."""

from __future__ import annotations

import socket
import threading

import pytest

from ultralytics_wb_ddp.distributed.rendezvous import has_process_group, is_refused, watch_rendezvous


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "wandb-ddp-rendezvous"]


def test_a_store_that_listens_is_not_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()

        assert not is_refused(address)
    assert is_refused(address)


def test_a_name_that_is_not_known_now_is_not_a_store_that_is_gone() -> None:
    assert not is_refused(("no-such-host.invalid", 29500))


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="no-worker"),
        pytest.param({"LOCAL_RANK": "0", "TORCHELASTIC_USE_AGENT_STORE": "False"}, id="rank-0-opens-the-store-later"),
        pytest.param({"LOCAL_RANK": "0"}, id="launched-by-hand"),
    ],
)
def test_only_the_store_of_torchrun_is_watched(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    watch_rendezvous()

    assert not has_process_group()
    assert watchers() == []
