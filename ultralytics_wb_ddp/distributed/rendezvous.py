"""End workers that wait for the rendezvous of a torchrun that has ended.

PyTorch tries to reach it until the timeout of the process group, for which Ultralytics takes three hours. Meanwhile the
workers would hold their devices.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

from ultralytics_wb_ddp.distributed.processes import is_worker, note_lost_torchrun
from ultralytics_wb_ddp.utils.logging import EVERY_RANK, logger

POLL_INTERVAL = 1.0  # seconds between two attempts to reach the rendezvous
REFUSALS = 3  # refused connections in a row, after which the rendezvous counts as gone
CONNECT_TIMEOUT = 5.0  # seconds that one attempt may take
_watched = threading.Lock()  # taken once by each process


def watch_rendezvous() -> None:
    """End this worker if torchrun ends before the worker has joined the process group.

    A thread watches torchrun's store, which listens before the workers start. It does nothing where rank 0 is to open
    the store.
    """
    is_store_of_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if is_worker() and is_store_of_torchrun and not has_process_group() and _watched.acquire(blocking=False):
        address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
        threading.Thread(target=_watch, args=(address,), name="wandb-ddp-rendezvous", daemon=True).start()


def has_process_group() -> bool:
    """Return whether this process has joined a process group, as in Ray's workers."""
    dist = sys.modules.get("torch.distributed")
    return dist is not None and bool(dist.is_initialized())


def _watch(address: tuple[str, int]) -> None:
    refusals = 0
    while refusals < REFUSALS:
        time.sleep(POLL_INTERVAL)
        if has_process_group():
            return
        refusals = refusals + 1 if is_refused(address) else 0
    note_lost_torchrun()
    msg = "torchrun has ended before its workers were connected (nothing answers at %s:%d); this worker ends, too"
    logger.error(msg, *address, extra=EVERY_RANK)
    os.kill(os.getpid(), signal.SIGTERM)


def is_refused(address: tuple[str, int]) -> bool:
    """Return whether nothing listens at an address."""
    try:
        socket.create_connection(address, CONNECT_TIMEOUT).close()
    except ConnectionRefusedError:
        return True
    except OSError:  # the network or the name service does not answer now
        return False
    return False
