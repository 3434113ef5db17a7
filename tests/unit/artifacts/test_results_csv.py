"""The epochs in results.csv, also of old and foreign releases, of several trainings, and of damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ultralytics_wb_ddp.artifacts.results_csv import NoEpochError, Results, ResultsError, read_results

HEADER = "epoch,time,train/box_loss,metrics/mAP50(B),val/box_loss,lr/pg0"
BOX = "train/box_loss"


def lines(*epochs: int, loss: int = 100, time: int = 10) -> str:
    """Return lines of results.csv, of which the loss names the training and the epoch."""
    return "".join(f"{epoch},{time * epoch},{loss + epoch},0.7,1,0.01\n" for epoch in epochs)


def read(tmp_path: Path, content: str | bytes) -> Results:
    file = tmp_path / "results.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_results(file)


def losses(results: Results) -> list[float]:
    return [row[BOX] for row in results.rows]


# Several trainings in one results.csv


def test_last_training_of_a_file_counts(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1, 2, 3, 4, 5, loss=200)}{lines(1, 2, 3)}")

    assert losses(found) == [101, 102, 103]
    assert found.seconds == (10, 20, 30)
    assert (found.earlier, found.notes) == (1, ("results.csv holds an earlier training, too: 5 epochs are left out",))


def test_last_of_three_trainings_counts(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1, loss=300)}{lines(1, 2, loss=200)}{lines(1, 2, 3, 4, time=50)}")

    assert losses(found) == [101, 102, 103, 104]
    assert found.seconds == (50, 100, 150, 200), "the time of the one before is not taken off"
    assert found.notes == ("results.csv holds 2 earlier trainings, too: 3 epochs are left out",)


def test_resumed_training_is_one_training(tmp_path: Path) -> None:
    text = f"{HEADER}\n{lines(1, 2, 3, loss=200)}{lines(3, 4, time=2)}"

    assert losses(read(tmp_path, text)) == [201, 202, 103, 104]
    assert read(tmp_path, text).notes == ()


def test_resume_belongs_to_the_training_before_it(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1, 2, loss=300)}{lines(1, 2, loss=200)}{lines(2, 3)}")

    assert (losses(found), found.earlier) == ([201, 102, 103], 1)


def test_epochs_after_the_one_that_a_training_went_back_to_are_not_its_own(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1, 2, 3, 4, 5, 6, loss=200)}{lines(3, 4)}")

    assert losses(found) == [201, 202, 103, 104]
    assert found.notes == ("2 epochs are left out: the training went on from an earlier one, up to 4",)


def test_training_with_other_columns_has_its_own_header(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1, 2)}epoch,time,train/loss,lr/pg0\n1,10,5,0.01\n2,20,4,0.01\n")

    assert [row["train/loss"] for row in found.rows] == [5, 4]
    assert BOX not in found.rows[0]


def test_training_that_counts_from_0_is_told_from_the_next_one_that_counts_from_1(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(0, 1, 2, 3, loss=200)}{lines(1, 2)}")

    assert ([row["epoch"] for row in found.rows], losses(found), found.earlier) == ([1, 2], [101, 102], 1)


def test_two_trainings_that_count_from_0(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(0, 1, 2, loss=200)}{lines(0, 1)}{lines(1, 2, loss=300)}")

    assert ([row["epoch"] for row in found.rows], losses(found), found.earlier) == ([1, 2, 3], [100, 301, 302], 1)


def test_training_that_counts_from_0_and_is_resumed_by_a_release_that_counts_from_1(tmp_path: Path) -> None:
    found = read(tmp_path, f"   {HEADER}\n      0,  1, 200,0,0,0\n     1,  2, 201,0,0,0\n{lines(3, 4)}")

    assert [row["epoch"] for row in found.rows] == [1, 2, 3, 4]


def test_mark_stays_while_a_training_goes_on(tmp_path: Path) -> None:
    begun = read(tmp_path, f"{HEADER}\n{lines(1, 2)}")

    assert read(tmp_path, f"{HEADER}\n{lines(1, 2)}{lines(2, 3)}").mark == begun.mark
    assert read(tmp_path, f"{HEADER}\n{lines(1, 2)}{lines(1, 2, loss=200)}").mark != begun.mark


# Columns that came and went, damage


def test_values_without_a_name_are_left_out_and_the_others_stay(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1)}2,20,102,0.7,1,0.01,7\n3,30,103,0.7,1,0.01,8\n")

    assert losses(found) == [101, 102, 103]
    assert [row["lr/pg0"] for row in found.rows] == [0.01] * 3
    assert found.notes == (
        "lines 3 to 4 of results.csv: each has 7 values for 6 names; values without a name are left out",
    )


def test_metric_that_was_added_stands_before_the_learning_rates(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1)}2,20,102,0.7,1,55,0.01\n")

    assert found.rows[-1] == {"epoch": 2, BOX: 102, "metrics/mAP50(B)": 0.7, "val/box_loss": 1, "lr/pg0": 0.01}


def test_time_that_a_newer_release_adds_is_no_loss(tmp_path: Path) -> None:
    old = "    epoch,  train/box_loss,  metrics/mAP50(B),   lr/pg0\n      1,  1.5,    0.4,   0.01\n"
    found = read(tmp_path, f"{old}2,33.1,1.4,0.41,0.009\n3,66.2,1.3,0.42,0.008\n")

    assert losses(found) == [1.5, 1.4, 1.3]
    assert [row["lr/pg0"] for row in found.rows] == [0.01, 0.009, 0.008]
    assert found.seconds == ()


def test_release_without_the_time_goes_on(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1)}2,102,0.7,1,0.01\n3,103,0.7,1,0.01\n")

    assert losses(found) == [101, 102, 103]
    assert [row["lr/pg0"] for row in found.rows] == [0.01] * 3


def test_header_in_the_middle_counts_for_what_follows(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1)}epoch,{BOX},more\n2,102,7\n")

    assert found.rows[-1] == {"epoch": 2, BOX: 102, "more": 7}


def test_cells_that_are_empty_or_no_number_cost_no_other(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n1,10,101,,1,0.01\n2,20,102,x,nan,inf\n")

    assert losses(found) == [101, 102]
    assert all("metrics/mAP50(B)" not in row for row in found.rows)
    assert found.rows[1]["lr/pg0"] == float("inf")


@pytest.mark.parametrize(
    "content",
    [
        f"{HEADER}\r\n{lines(1, 2)}".replace("\n", "\r\n").encode(),
        f"\ufeff{HEADER}\n{lines(1, 2)}".encode(),
        f"{HEADER}\n{lines(1, 2)}".encode("utf-16"),
        f"{HEADER},\n{lines(1, 2)}".encode(),
        f"{HEADER}\n{lines(1)}".encode() + b"\0" * 512 + lines(2).encode() + b"\0" * 512,
        f"{HEADER},m\xe9tric\n".encode("latin-1") + lines(1, 2).replace("\n", ",5\n").encode(),
    ],
    ids=["CRLF", "BOM", "UTF-16", "comma at the end", "blocks of NUL", "name that is not UTF-8"],
)
def test_file_that_is_written_otherwise_is_read(tmp_path: Path, content: bytes) -> None:
    assert losses(read(tmp_path, content)) == [101, 102]


def test_line_that_is_cut_off_in_the_middle_of_a_file_costs_no_other(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEADER}\n{lines(1)}2,20,10\n{lines(2, 3)}")

    assert losses(found) == [101, 102, 103]
    assert found.notes == ("line 3 of results.csv has 3 of 6 values and is left out",)


@pytest.mark.parametrize("text", ["", "\n", f"{HEADER}\n", f"{HEADER}\n\0\0\0"])
def test_file_without_an_epoch_says_that_the_training_ended_before_one(tmp_path: Path, text: str) -> None:
    with pytest.raises(NoEpochError, match="the training ended before its first one was over"):
        read(tmp_path, text)


def test_file_of_something_else_is_no_training_without_an_epoch(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no column 'epoch'") as caught:
        read(tmp_path, "name,score\na,1\n")

    assert not isinstance(caught.value, NoEpochError)


# Epochs and lines


def test_epoch_that_was_trained_twice_counts_as_the_second_one(tmp_path: Path) -> None:
    found = read(tmp_path, "epoch,time,a\n1,5,0.1\n2,10,0.2\n2,4,0.3\n3,8,0.4\n")

    assert [row["a"] for row in found.rows] == [0.1, 0.3, 0.4]
    assert found.seconds == (5, 9, 13)


def test_epochs_that_the_release_counts_from_0_are_counted_from_1(tmp_path: Path) -> None:
    assert [row["epoch"] for row in read(tmp_path, "epoch,a\n0,1\n1,2\n").rows] == [1, 2]


def test_last_number_of_a_line_without_an_end_is_not_believed(tmp_path: Path) -> None:
    assert read(tmp_path, "epoch,a,b\n1,1,1\n2,2,0.").rows[-1] == {"epoch": 2, "a": 2}


@pytest.mark.parametrize("line", ["1,\0\0", "x,1", "nan,1", "1"])
def test_line_that_is_damaged_is_left_out(tmp_path: Path, line: str) -> None:
    found = read(tmp_path, f"epoch,a\n{line}\n2,2\n")

    assert [row["epoch"] for row in found.rows] == [2]
    assert found.notes[0].startswith("line 2 of results.csv ")


def test_file_without_an_epoch_says_that_none_was_over(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"results\.csv holds no epoch: the training ended before"):
        read(tmp_path, "epoch,a\n")
