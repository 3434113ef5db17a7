"""Files that wandb-core writes for a run."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ultralytics_wb_ddp.wandb_client.run_file import decode_records, encode_records, read_run


def test_several_runs_below_a_folder_are_named_by_their_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("run-1", "run-2"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / f"{name}.wandb").touch()

    with pytest.raises(ValueError, match=r"holds 2 .wandb files; give one of them: wandb/run-1, wandb/run-2"):
        read_run("wandb")


def test_records_of_any_size_are_packed_and_unpacked(tmp_path: Path) -> None:
    sizes = [0, 1, 32_754, 32_755, 32_761, 32_768, 200_000]
    records = [random.Random(size).randbytes(size) for size in sizes]

    assert list(decode_records(encode_records(b":W&B\0\0\0", records), tmp_path)) == records


def test_read_run_of_nothing() -> None:
    with pytest.raises(FileNotFoundError, match=r"'nope' does not exist; give a \.wandb file, or the directory"):
        read_run("nope")


def test_read_run_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "run-x.wandb"
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"no \.wandb file"):
        read_run(file)


def test_read_run_of_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no \.wandb file; give a directory that W&B has written"):
        read_run(tmp_path)
