"""Keep the last rows and artifacts of a run, because a killed wandb-core may not have written them to disk."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.wandb_client.internals import log_artifact
from ultralytics_wb_ddp.wandb_client.run_file import find_run_files, read_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path


ROWS_TO_COMPARE = 512  # the last rows of a session, among which its missing rows are looked for; a program may log many


class RecentData:
    """The last rows and artifacts of a run, and the part of its config that the training has written.

    Args:
        size: Number of rows that are kept.

    Attributes:
        rows: The last rows.
        artifacts: The last ``wandb.Artifact`` objects, with their aliases.
        config: The part of the config.
    """

    def __init__(self, size: int) -> None:
        self.rows: deque[Mapping[str, Any]] = deque(maxlen=size)
        self.artifacts: deque[tuple[Any, list[str]]] = deque(maxlen=size)
        self.config: dict[str, Any] = {}

    def is_written(self, folder: Path) -> bool:
        """Return whether a session has all rows and artifacts on disk.

        Args:
            folder: W&B's folder of the session.
        """
        return not any(self.unwritten_rows(folder, [*self.rows])) and not any(self._unwritten_artifacts(folder))

    def unwritten_rows(self, folder: Path, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield those of the given rows that a session does not have on disk."""
        try:
            written = read_run(folder).history[-ROWS_TO_COMPARE:]
        except (OSError, ValueError):  # the folder is gone, or holds nothing
            written = []
        for row in rows:
            numbers = {key: value for key, value in row.items() if isinstance(value, (int, float))}
            numbers = {key: value for key, value in numbers.items() if math.isfinite(value)}
            if not any(numbers.items() <= other.items() and row.keys() <= other.keys() for other in written):
                yield row

    def _unwritten_artifacts(self, folder: Path) -> Iterator[tuple[Any, list[str]]]:
        written = set()
        with suppress(OSError, ValueError):  # the folder is gone, or holds nothing
            files = find_run_files(folder)
            written = {artifact.digest for file in files for artifact in read_run(file).artifacts}
        return ((artifact, aliases) for artifact, aliases in self.artifacts if artifact.digest not in written)

    def log_again(
        self, run: Any, folder: Path, storable: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    ) -> None:
        """Log to a run what a session of it does not have on disk.

        Args:
            run: The ``wandb.Run``, which continues the session.
            folder: W&B's folder of the session.
            storable: Function that returns the values of a row that W&B can store.
        """
        run.config.update(self.config, allow_val_change=True)
        for row in [*self.unwritten_rows(folder, [*self.rows])]:
            run.log(dict(storable(row)))
        self.log_artifacts_again(run, folder)

    def log_artifacts_again(self, run: Any, folder: Path) -> None:
        """Log to a run the artifacts that a session of it does not have on disk."""
        for artifact, aliases in [*self._unwritten_artifacts(folder)]:
            log_artifact(run, artifact, aliases)
