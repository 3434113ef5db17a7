"""Read and write wandb-core's ``.wandb`` files."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.utils.logging import relative_path

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterable, Iterator, Mapping


MAGIC = b":W&B"
HEADER_SIZE = 7  # bytes: 4 of the mark, 2 of magic, 1 of the version
BLOCK_SIZE = 32 * 1024  # bytes
CHUNK_HEADER = struct.Struct("<IHB")  # checksum, size and kind of a chunk
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4  # kinds of chunks: a whole record or a part of one


@dataclass(frozen=True)
class RecordedArtifact:
    """An artifact that a run logged.

    Attributes:
        aliases: Aliases that the run gave it.
        entries: Size in bytes by path, or the address of a reference.
        is_input: Whether the artifact is an input of the run, not an output.
        digest: W&B's digest of the content.
        metadata: Metadata that the run gave it.
    """

    name: str
    type: str
    aliases: tuple[str, ...]
    entries: dict[str, int | str]
    is_input: bool = False
    digest: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass
class RecordedRun:
    """The content of a ``.wandb`` file: one session of a run.

    Attributes:
        state: ``"finished"``, ``"failed"`` or, if the file has no exit record, ``"running"``.
        exit_code: Exit code of the run; None while it is running.
        config: The config, without W&B's own entries.
        history: The rows in the order of logging, without W&B's own ``_`` entries except ``_step``.
        summary: The last value of each key.
        metrics: Names and globs given to ``define_metric``, and their step metric.
        charts: Titles of custom charts (``title``, ``x-axis-title``, ...) by the key of the chart.
        files: Paths of the files that the run keeps.
        artifacts: Artifacts that the run logged.
        console: The printed text, as far as W&B captured it.
    """

    path: Path
    id: str = ""
    project: str = ""
    entity: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""
    state: str = "running"
    exit_code: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    charts: dict[str, dict[str, str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    artifacts: list[RecordedArtifact] = field(default_factory=list)
    console: str = ""

    def rows(self, *keys: str) -> list[dict[str, Any]]:
        """Return the rows that contain all of these keys.

        Args:
            *keys: Names of values, such as ``"train/box_loss"``.
        """
        return [row for row in self.history if all(key in row for key in keys)]


def read_records(file: Path) -> Iterator[Any]:
    """Yield the complete records of a ``.wandb`` file as protocol buffers.

    Raises:
        ValueError: The file is no ``.wandb`` file.
    """
    from wandb.proto import wandb_internal_pb2 as pb

    for data in decode_records(file.read_bytes(), file):
        yield pb.Record.FromString(data)


def find_run_files(directory: str | os.PathLike[str]) -> list[Path]:
    """Return the ``.wandb`` files below a directory, the oldest first.

    Each session of a run has a file of its own.

    Args:
        directory: The directory; files at any depth are found.
    """
    files = {file.resolve() for file in Path(directory).rglob("run-*.wandb")}  # latest-run is a link to a run
    return sorted(files, key=lambda file: (file.parent.name, file))


def read_run(path: str | os.PathLike[str]) -> RecordedRun:
    """Return the content of a ``.wandb`` file.

    W&B's service writes the file, and ``run.finish()`` does not wait for it. In the process that logged, call
    ``wandb.teardown()`` first.

    Args:
        path: The file, or the run's directory (``offline-run-...``) that holds it.

    Raises:
        FileNotFoundError: The path does not exist.
        ValueError: The directory holds no file or several, or the file is no ``.wandb`` file.
    """
    from wandb.proto import wandb_internal_pb2 as pb

    file = Path(path)
    if not file.exists():
        msg = (
            f"{str(path)!r} does not exist; give a .wandb file, or the directory that W&B has written for a run: "
            "run-... or offline-run-... in 'wandb', where the script ran or in the training's directory"
        )
        raise FileNotFoundError(msg)
    if file.is_dir():
        files = find_run_files(file)
        if len(files) != 1:
            folders = {relative_path(run_file.parent) for run_file in files}
            choice = sorted(folders) if len(folders) == len(files) else [relative_path(run_file) for run_file in files]
            some = f"{len(files)} .wandb files; give one of them: {', '.join(choice)}"
            none = "no .wandb file; give a directory that W&B has written for a run, run-... or offline-run-..."
            msg = f"{str(path)!r} holds {some if files else none}"
            raise ValueError(msg)
        (file,) = files
    run = RecordedRun(path=file)
    for data in decode_records(file.read_bytes(), file):
        record = pb.Record.FromString(data)
        _READERS.get(record.WhichOneof("record_type") or "", _ignore)(run, record)
    return run


def _ignore(run: RecordedRun, record: Any) -> None:
    """Skip a record that holds no logged data."""


def _read_run(run: RecordedRun, record: Any) -> None:
    header = record.run
    for name, proto_name in (
        ("id", "run_id"),
        ("project", "project"),
        ("entity", "entity"),
        ("name", "display_name"),
        ("group", "run_group"),
        ("job_type", "job_type"),
        ("notes", "notes"),
    ):
        setattr(run, name, getattr(header, proto_name) or getattr(run, name))
    run.tags = tuple(header.tags) or run.tags
    _update(run.config, header.config.update)


def _read_config(run: RecordedRun, record: Any) -> None:
    for item in record.config.update:
        if item.nested_key[:2] == ["_wandb", "visualize"]:
            run.charts[item.nested_key[2]] = json.loads(item.value_json)["panel_config"]["stringSettings"]
    _update(run.config, record.config.update)
    for item in record.config.remove:
        run.config.pop(item.key, None)


def _read_history(run: RecordedRun, record: Any) -> None:
    row: dict[str, Any] = {}
    _update(row, record.history.item)
    row["_step"] = record.history.step.num
    run.history.append(row)
    run.summary.update({key: value for key, value in row.items() if not key.startswith("_")})


def _read_summary(run: RecordedRun, record: Any) -> None:
    _update(run.summary, record.summary.update)


def _read_metric(run: RecordedRun, record: Any) -> None:
    run.metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric


def _read_files(run: RecordedRun, record: Any) -> None:
    run.files.extend(item.path for item in record.files.files if item.path not in run.files)


def _read_artifact(run: RecordedRun, record: Any) -> None:
    artifact = record.artifact
    entries = {entry.path: entry.ref or entry.size for entry in artifact.manifest.contents}
    if artifact.manifest.manifest_file_path:  # a long manifest is in a file of its own
        with _open_manifest(artifact.manifest.manifest_file_path) as lines:
            manifest = [json.loads(line) for line in lines]
        entries = {entry["path"]: entry.get("ref") or entry.get("size", 0) for entry in manifest}
    aliases, is_input = tuple(artifact.aliases), artifact.use_after_commit
    metadata = json.loads(artifact.metadata or "{}")
    recorded = RecordedArtifact(artifact.name, artifact.type, aliases, entries, is_input, artifact.digest, metadata)
    run.artifacts.append(recorded)


def _open_manifest(path: str) -> Any:
    import gzip

    return gzip.open(path, "rt", encoding="utf-8")


def _read_output(run: RecordedRun, record: Any) -> None:
    run.console += (record.output_raw if record.HasField("output_raw") else record.output).line


def _read_exit(run: RecordedRun, record: Any) -> None:
    run.exit_code = record.exit.exit_code
    run.state = "failed" if run.exit_code else "finished"


def _update(values: dict[str, Any], items: Any) -> None:
    """Add protobuf items to a dictionary. Nested keys become nested dictionaries."""
    for item in items:
        path = list(item.nested_key) or [item.key]
        if path[0].startswith("_"):
            continue
        target = values
        for key in path[:-1]:
            target = target.setdefault(key, {})
        target[path[-1]] = json.loads(item.value_json)


_READERS = {
    "run": _read_run,
    "config": _read_config,
    "history": _read_history,
    "summary": _read_summary,
    "metric": _read_metric,
    "files": _read_files,
    "artifact": _read_artifact,
    "output": _read_output,
    "output_raw": _read_output,
    "exit": _read_exit,
}


def decode_records(data: bytes, file: Path) -> Iterator[bytes]:
    """Yield the complete records in the content of a ``.wandb`` file.

    An incomplete record at the end is left out: the file may still be written. Without a complete header there are no
    records: the disk may have been full when the run was opened.

    Raises:
        ValueError: The content is no ``.wandb`` file.
    """
    if not MAGIC.startswith(data[: len(MAGIC)]):
        msg = f"{str(file)!r} is no .wandb file: it starts with {data[: len(MAGIC)]!r}; give one that W&B has written"
        raise ValueError(msg)
    position, parts = HEADER_SIZE, b""
    while position + CHUNK_HEADER.size <= len(data):
        room = BLOCK_SIZE - position % BLOCK_SIZE
        if room < CHUNK_HEADER.size:  # the rest of a block is padding
            position += room
            continue
        _, size, kind = CHUNK_HEADER.unpack_from(data, position)
        start = position + CHUNK_HEADER.size
        position = start + size
        if kind not in (FULL, FIRST, MIDDLE, LAST) or position > len(data):
            return
        parts = data[start:position] if kind in (FULL, FIRST) else parts + data[start:position]
        if kind in (FULL, LAST):
            yield parts


def encode_records(header: bytes, records: Iterable[bytes]) -> bytes:
    """Return the content of a ``.wandb`` file, with the header of another file of the same release."""
    data = bytearray(header)
    for record in records:
        rest, is_first = memoryview(record), True
        while True:
            room = BLOCK_SIZE - len(data) % BLOCK_SIZE
            if room < CHUNK_HEADER.size:
                data += bytes(room)
                room = BLOCK_SIZE
            part, rest = rest[: room - CHUNK_HEADER.size], rest[room - CHUNK_HEADER.size :]
            kind = (FIRST if rest else FULL) if is_first else (MIDDLE if rest else LAST)
            data += CHUNK_HEADER.pack(zlib.crc32(part, zlib.crc32(bytes([kind]))), len(part), kind) + part
            is_first = False
            if not rest:
                break
    return bytes(data)


def read_summary(file: Path) -> dict[str, Any]:
    """Return the summary that W&B makes of a ``.wandb`` file.

    This is the last value of each key, the best one if the metric is defined so (``{"max": 0.5}``), or the value that
    the run has set.

    Args:
        file: The file.
    """
    kinds: dict[str, str] = {}  # by name or glob
    summary: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for record in read_records(file):
        kind = record.WhichOneof("record_type")
        if kind == "metric":
            wanted = [name for name in ("none", "max", "min") if getattr(record.metric.summary, name)]
            kinds[record.metric.name or record.metric.glob_name] = wanted[0] if wanted else "last"
        elif kind == "history":
            row: dict[str, Any] = {}
            _update(row, record.history.item)
            for key, value in row.items():
                how = kinds.get(key) or next((kinds[name] for name in kinds if fnmatchcase(key, name)), "last")
                if how == "last":
                    values[key] = value
                elif how != "none" and isinstance(value, (int, float)):
                    best = values.get(key, {}).get(how, value)
                    values[key] = {how: max(best, value) if how == "max" else min(best, value)}
        elif kind == "summary":
            _update(summary, record.summary.update)
    return {**values, **summary}


def rewrite_run_file(
    file: Path,
    *,
    rows: Collection[int],
    first_step: int | None,
    artifacts: Collection[str] | None,
    kept_config: Collection[str],
    summary: Mapping[str, Any],
    exit_code: int,
    is_preempted: bool,
) -> bytes:
    """Return the content of a ``.wandb`` file with some of its rows and another end.

    Args:
        file: The file.
        rows: Numbers of the rows to keep, from 0.
        first_step: Step of the first kept row; the others follow. None keeps the steps.
        artifacts: Digests of the logged artifacts to keep; None keeps all.
        kept_config: Keys of the config that keep their value at W&B.
        summary: Summary values that are set at the end.
        exit_code: Exit code of the run.
        is_preempted: Whether the run's machine was taken away.
    """
    from wandb.proto import wandb_internal_pb2 as pb

    def is_kept(item: Any, kind: str) -> bool:
        if kind == "history":
            return next(numbers) in rows
        if kind == "artifact":
            is_logged = not item.artifact.use_after_commit
            return not is_logged or artifacts is None or item.artifact.digest in artifacts
        return kind not in {"exit", "preempting"}

    def records() -> Iterator[bytes]:
        for data in decode_records(content, file):
            item = pb.Record.FromString(data)
            kind = item.WhichOneof("record_type") or ""
            if is_kept(item, kind):
                _drop_config(item, kept_config)
                if kind == "history" and first_step is not None:
                    _set_step(item, next(steps))
                yield item.SerializeToString()
        end = [pb.Record(), pb.Record(), pb.Record()]
        for key, value in summary.items():
            end[0].summary.update.add(key=key, value_json=json.dumps(value))
        if is_preempted:
            end[1].preempting.SetInParent()
        end[2].exit.exit_code = exit_code
        yield from (item.SerializeToString() for item in end if item.WhichOneof("record_type"))

    numbers, steps = count(), count(first_step or 0)
    content = file.read_bytes()
    return encode_records(content[:HEADER_SIZE], records())


def _drop_config(record: Any, keys: Collection[str]) -> None:
    config = record.run.config if record.WhichOneof("record_type") == "run" else record.config
    if record.WhichOneof("record_type") in {"run", "config"}:
        for value in [value for value in config.update if (value.key or value.nested_key[0]) in keys]:
            config.update.remove(value)


def _set_step(record: Any, step: int) -> None:
    record.history.step.num = step
    for item in record.history.item:
        if item.key == "_step":
            item.value_json = json.dumps(step)
