"""The table of the images that the model got most wrong, in the run of a training."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.jobs import NIGHTLY, Job, RunJob


def tables(job: Job) -> list[dict[str, Any]]:
    """Return the tables of mistakes that W&B has taken into artifacts, the newest last."""
    staged = sorted(job.directory.glob("home/**/artifacts/staging/*"), key=lambda file: file.stat().st_mtime_ns)
    texts = [file.read_bytes() for file in staged]
    return [json.loads(text) for text in dict.fromkeys(texts) if text.startswith(b"{") and b"Surest wrong" in text]


def test_table_has_the_images_of_both_ranks(usage_c: Job) -> None:
    ((table),) = tables(usage_c)
    (row,) = usage_c.run.rows("mistakes")

    assert row["mistakes"]["nrows"] == 4
    assert row["epoch"] == 2
    files = {line[1] for line in table["data"]}
    assert files == {f"images/val/{number:05d}.png" for number in range(4)}  # two of each rank


@pytest.fixture(scope="module")
def twice(run_job: RunJob) -> Job:
    return run_job("mistakes.py", "train_twice_and_without_mistakes")


@NIGHTLY
def test_labels_lie_on_the_objects_and_predictions_are_shown(twice: Job) -> None:
    table = tables(twice)[0]

    assert len(table["data"]) == 3
    for image, name, mistakes, missed, wrong, right, surest in table["data"]:
        (box,) = image["boxes"]["ground_truth"]
        side = [box["position"][key] for key in ("minX", "minY", "maxX", "maxY")]
        assert 0.1 < side[2] - side[0] < 0.8
        assert mistakes == missed + wrong
        assert missed + right == 1
        assert len(image["boxes"]["predictions"]) == wrong + right > 10
        assert 0 < surest < 0.1
        assert name.startswith("images/val/")


@NIGHTLY
def test_pictures_are_stored_once_however_many_tables_show_them(twice: Job) -> None:
    both = [each for run in twice.runs for each in run.artifacts if each.name.endswith("-mistakes")]
    pictures = [{name for name in each.entries if name.endswith(".jpg")} for each in both]

    assert len(both) == 2
    assert len(pictures[0]) == 3
    assert len(pictures[0] | pictures[1]) <= 4  # of the four images that are evaluated


@NIGHTLY
def test_no_table_where_it_is_switched_off(twice: Job) -> None:
    *_, last = twice.runs

    assert last.rows("epoch")
    assert not last.rows("mistakes")
