"""The files in which wandb-core keeps what was logged: records in LevelDB's log format, behind a header of W&B's."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["HEADER_SIZE", "holds_records", "pack", "unpack"]

MARK = b":W&B"
HEADER_SIZE = 7  # bytes: the mark, two of magic, one of version
BLOCK_SIZE = 32 * 1024  # bytes
CHUNK_HEADER = struct.Struct("<IHB")  # checksum, size and kind of a chunk
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4  # which part of a record a chunk holds


def holds_records(folder: Path) -> bool:
    """Return whether a run's folder holds more than the header of a ``.wandb`` file: there is something to send."""
    return any(file.stat().st_size > HEADER_SIZE for file in folder.glob("run-*.wandb"))


def unpack(data: bytes, file: Path) -> Iterator[bytes]:
    """Yield the complete records of a ``.wandb`` file; one that was being written at the end is left out.

    Args:
        data: The content of the file.
        file: Its path, for the message.

    Raises:
        ValueError: It is no ``.wandb`` file.
    """
    if data[: len(MARK)] != MARK:
        msg = f"{str(file)!r} is no .wandb file: it starts with {data[: len(MARK)]!r}; give one that W&B has written"
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


def pack(header: bytes, records: Iterable[bytes]) -> bytes:
    """Return the content of a ``.wandb`` file.

    Args:
        header: The first :data:`HEADER_SIZE` bytes, as another file of the same release has them.
        records: The records.
    """
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
