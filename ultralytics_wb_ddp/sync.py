"""Sends what runs have on disk and the service has not got, with ``wandb sync``.

By itself that sends a session that was cut off in the middle as a whole: from wandb 0.31 on, the rows that had arrived
are there twice then. And it takes the parts of a run of which one names the entity and the other does not for different
runs, and sends them at the same time. Here each part is sent by itself, without the rows that are there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ultralytics_wb_ddp.log import logger
from ultralytics_wb_ddp.runs import was_online
from ultralytics_wb_ddp.session import COUNTING_LAG
from ultralytics_wb_ddp.testing.run_file import RecordedRun, read_run
from ultralytics_wb_ddp.transaction_log import HEADER_SIZE, pack, unpack
from ultralytics_wb_ddp.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["sync"]

NOTICED = 2.0  # seconds that may pass without a word
TIMEOUT = 30.0  # seconds that the service has to say what has arrived
HISTORY_KEYS = """
query RunHistoryKeys($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { historyKeys } }
}
"""
APPENDS_SINCE = (0, 31)  # release of wandb; before it, a session is written over what had arrived of it


def sync(folders: Sequence[Path]) -> int:
    """Send parts of runs, one after the other.

    Args:
        folders: W&B's directories, ``offline-run-...`` or ``run-...``, the parts of a run in their order.

    Returns:
        The exit code of the ``wandb sync`` that failed, or 0.

    Raises:
        FileNotFoundError: A folder does not exist.
        ValueError: A folder does not hold one ``.wandb`` file.
        Trouble: W&B cannot be reached, refuses the key, or does not say what has arrived.
    """
    from ultralytics_wb_ddp.server import require_server

    parts = [(folder, read_run(folder)) for folder in folders]
    require_server()
    for folder, part in parts:
        _wait_until_counted(part.path.stat().st_mtime, part.id)
        with tempfile.TemporaryDirectory() as place:
            missing = _without_arrived(folder, part, Path(place)) if was_online(folder) and _appends() else folder
            command = [sys.executable, "-m", "wandb", "sync", "--include-online", str(missing)]
            if code := subprocess.run(command, check=False).returncode:  # noqa: S603  # wandb itself
                return code
            mark = f"{part.path.name}.synced"
            if (missing / mark).exists():
                part.path.with_name(mark).touch()
        if folder is not folders[-1]:
            _wait_until_counted(time.time(), part.id)
    return 0


def _wait_until_counted(since: float, run_id: str) -> None:
    """Wait until W&B has counted the rows of a run that were sent until a point in time."""
    seconds = min(since + COUNTING_LAG - time.time(), COUNTING_LAG)
    if seconds > NOTICED:
        logger.info("waiting %.0f s, until W&B has counted what run %s has sent", seconds, run_id)
    time.sleep(max(0.0, seconds))


def _appends() -> bool:
    import wandb

    return version_of(wandb.__version__) >= APPENDS_SINCE


def _without_arrived(folder: Path, part: RecordedRun, place: Path) -> Path:
    """Return a copy of a part, in another place, without the rows that the service has."""
    from wandb.proto import wandb_internal_pb2 as pb

    last_step = _last_step(part)

    def has_arrived(data: bytes) -> bool:
        record = pb.Record.FromString(data)
        return bool(record.WhichOneof("record_type") == "history" and record.history.step.num <= last_step)

    content = part.path.read_bytes()
    copy = place / folder.resolve().name
    copy.mkdir()
    for beside in folder.iterdir():
        if beside.is_dir():
            (copy / beside.name).symlink_to(beside.resolve())
    rest = (data for data in unpack(content, part.path) if not has_arrived(data))
    (copy / part.path.name).write_bytes(pack(content[:HEADER_SIZE], rest))
    return copy


def _last_step(part: RecordedRun) -> int:
    """Return the step of the last row that the service has of a run; -1 for none."""
    from ultralytics_wb_ddp.server import find_server

    server = find_server(timeout=TIMEOUT)
    answer = server.ask("RunHistoryKeys", HISTORY_KEYS, project=part.project, entity=part.entity, name=part.id)
    run = (answer.get("project") or {}).get("run") or {}
    return int((run.get("historyKeys") or {}).get("lastStep", -1))
