"""The campaign of random faults: its invariants see what is wrong with the run of a trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from chaos import commands
from chaos.endings import ending
from chaos.evidence import Command, Life, Mark, Outcome, read_marks, read_results
from chaos.invariants import INVARIANTS, checkpoint_arrived, every_epoch_once, no_row_lost, one_run
from chaos.plan import Strike, draw
from chaos.report import judge, table
from chaos.trial import API_KEY
from chaos.usages import EPOCHS, RUN_ID
from wandb_server import StoredArtifact, StoredRun

HISTORY = "wandb-history.jsonl"


PLAN = draw(1, 1)


KILL = Strike("kill rank 0", 0.5)


HANG = Strike("hangs for seconds", 0.5, details={"seconds": 2.0})


def run_with(*rows: str, state: str = "finished", exit_code: int | None = 0, run_id: str = RUN_ID) -> StoredRun:
    run = StoredRun(run_id, "demo", "team", datetime.now(timezone.utc), state=state, exit_code=exit_code)
    run.stream(HISTORY).write(0, [row.replace("{", f'{{"_step": {step}, ', 1) for step, row in enumerate(rows)])
    best = StoredArtifact("1", "team", "demo", f"run_{RUN_ID}_model", "model", "d", ["best"], "COMMITTED")
    best.uploads["files/best.pt"] = b"weights"
    run.artifacts.append(best)
    return run


def epoch_row(epoch: int, loss: float | None = None) -> str:
    return f'{{"epoch": {epoch}, "train/box_loss": {loss or epoch / 10}}}'


ROWS = ['{"user/before": 1}', *(epoch_row(epoch) for epoch in range(1, EPOCHS + 1)), '{"user/after": 1}']


MARKS = [
    Mark("opened", 1, 1.0),
    Mark("before", 1, 2.0),
    *(Mark("after on_fit_epoch_end", 1, 3.0 + epoch, epoch=epoch) for epoch in range(EPOCHS)),
    Mark("after on_train_end", 1, 8.0),
    Mark("trained", 1, 9.0),
    Mark("after", 1, 10.0),
]


def outcome(
    directory: Path,
    *rows: str,
    usage: str = "B open",
    strike: Strike | None = None,
    exit_code: int = 0,
    marks: float = 11.0,
    ended: tuple[str, int | None] = ("finished", 0),
) -> Outcome:
    """Return what a trial leaves that went well, but for what is given; ``marks`` is when the last of them was made."""
    plan = replace(PLAN, usage=usage, processes="2", online=True, strikes=(strike or HANG,), restart=False)
    life = Life(1, exit_code, 20.0, 60.0, strike=plan.strikes[0], done=["done"], struck_at=5.5)
    runs = [run_with(*(rows or ROWS), state=ended[0], exit_code=ended[1])]
    made = [mark for mark in MARKS if mark.at < marks]
    results = {epoch: {"time": 1.0, "train/box_loss": epoch / 10} for epoch in range(1, EPOCHS + 1)}
    return Outcome(plan, directory, [life], made, results, runs, checkpoint_size=len(b"weights"))


def violations(found: Outcome) -> list[str]:
    return judge(found).violations


def test_nothing_is_violated_where_all_is_well(tmp_path: Path) -> None:
    assert violations(outcome(tmp_path)) == []


def add_run(found: Outcome) -> None:
    found.runs.append(run_with(run_id="another"))


def remove_run(found: Outcome) -> None:
    found.runs.clear()


def lengthen(found: Outcome) -> None:
    found.lives[0].exit_code = None


def leave_a_process(found: Outcome) -> None:
    found.lives[0].left.append("wandb-core: /bin/wandb-core")


def write_key(found: Outcome) -> None:
    (found.directory / "debug.log").write_text(f"key={API_KEY}")


def show_key(found: Outcome) -> None:
    found.lives[0].shown.add(f"python --key {API_KEY}")


def send_key(found: Outcome) -> None:
    found.received.append(API_KEY.encode())


def remove_checkpoint(found: Outcome) -> None:
    found.runs[0].artifacts.clear()


def cut_checkpoint(found: Outcome) -> None:
    found.runs[0].artifacts[0].uploads["files/best.pt"] = b"w"


def fail_command(found: Outcome) -> None:
    found.commands.append(Command(["ultralytics-wb-ddp", "sync", "x"], 1, "no"))


def forget_part(found: Outcome) -> None:
    found.marks.append(Mark("after on_pretrain_routine_end", 1, 2.5))
    found.unnamed.append("wandb/offline-run-1-a")


def destroy_row(found: Outcome) -> None:
    found.runs[0].stream(HISTORY).write(0, ['{"_step": 0}'])


def fail_beside(found: Outcome) -> None:
    found.companion = Life(1, 1, 10.0, 60.0)


def fail_by_wandb(found: Outcome) -> None:
    found.lives[0].exit_code = 1
    found.runs[0].state, found.runs[0].exit_code = "failed", 1


def train_half(found: Outcome) -> None:
    del found.results[EPOCHS]


BREAKS = [
    (add_run, "one_run"),
    (remove_run, "one_run"),
    (destroy_row, "no_row_lost"),
    (fail_by_wandb, "training_unharmed"),
    (train_half, "training_unharmed"),
    (lengthen, "time_bounded"),
    (leave_a_process, "nothing_left"),
    (write_key, "key_kept_secret"),
    (show_key, "key_kept_secret"),
    (send_key, "key_kept_secret"),
    (remove_checkpoint, "checkpoint_arrived"),
    (cut_checkpoint, "checkpoint_arrived"),
    (fail_command, "commands_succeed"),
    (forget_part, "parts_named"),
    (fail_beside, "companion_unharmed"),
]


@pytest.mark.parametrize(("break_it", "invariant"), BREAKS)
def test_invariant_is_violated_by(tmp_path: Path, break_it: Callable[[Outcome], None], invariant: str) -> None:
    found = outcome(tmp_path)
    break_it(found)

    assert invariant in {text.partition(":")[0] for text in violations(found)}


def test_every_invariant_is_seen_to_be_violated() -> None:
    seen = {invariant for _, invariant in BREAKS}

    assert {invariant.__name__ for invariant in INVARIANTS} == seen | {"every_epoch_once", "true_state"}  # see below


FIRST, *EPOCH_ROWS, LAST = ROWS


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([FIRST, *EPOCH_ROWS[1:], LAST], "epoch 1 is missing"),
        ([FIRST, EPOCH_ROWS[0], *EPOCH_ROWS, LAST], "epoch 1 has 2 rows"),
        ([FIRST, *EPOCH_ROWS[::-1], LAST], "wrong order"),
        ([FIRST, *EPOCH_ROWS, epoch_row(EPOCHS + 1), LAST], f"epoch {EPOCHS + 1} is not in results.csv"),
        ([FIRST, epoch_row(1, loss=7.0), *EPOCH_ROWS[1:], LAST], "train/box_loss is 7.0"),
    ],
)
def test_rows_are_those_of_results_csv(tmp_path: Path, rows: list[str], said: str) -> None:
    assert any(said in text for text in every_epoch_once(outcome(tmp_path, *rows)))


@pytest.mark.parametrize("rows", [[*EPOCH_ROWS, LAST], [FIRST, *EPOCH_ROWS], [FIRST, FIRST, *EPOCH_ROWS, LAST]])
def test_rows_of_the_user_are_there_once(tmp_path: Path, rows: list[str]) -> None:
    assert no_row_lost(outcome(tmp_path, *rows)) != []


def test_row_that_a_kill_has_prevented_is_not_missed(tmp_path: Path) -> None:
    found = outcome(tmp_path, FIRST, EPOCH_ROWS[0], strike=KILL, exit_code=1, marks=4.0, ended=("failed", 1))

    assert violations(found) == []


def test_there_need_be_no_run_where_none_was_open(tmp_path: Path) -> None:
    found = outcome(tmp_path, strike=KILL, exit_code=1, marks=0.0)
    found.runs.clear()

    assert one_run(found) == []


def test_checkpoint_may_be_missing_where_a_message_says_so(tmp_path: Path) -> None:
    found = outcome(tmp_path)
    remove_checkpoint(found)
    found.lives[0].output = "ultralytics_wb_ddp: WARNING: checkpoints could not be handed to W&B within 10 s"

    assert checkpoint_arrived(found) == []


RAISES = {"place": "after", "event": "on_train_start", "rank": 0, "epoch": 0}


EXIT = Strike("exception", 0.5, details={**RAISES, "error": "SystemExit"})


@pytest.mark.parametrize(
    ("strike", "usage", "states"),
    [
        (Strike("kill rank 1", 0.5), "C", {("failed", 1)}),
        (Strike("terminate launcher", 0.5), "C", {("preempted", 143)}),
        (Strike("terminate launcher", 0.5), "A", {("preempted", 143), ("preempted", 1)}),
        (Strike("interrupt process group", 0.5), "B closed", {("failed", 255)}),
        (Strike("interrupt rank 0", 0.5), "B closed", {("failed", 255), ("failed", 1)}),
        (EXIT, "C", {("failed", 3)}),
        (EXIT, "A", {("failed", 3), ("failed", 1)}),
    ],
)
def test_true_state_follows_from_what_ended_the_job(
    tmp_path: Path, strike: Strike, usage: str, states: set[tuple[str, int]]
) -> None:
    found = outcome(tmp_path, usage=usage, strike=strike, exit_code=1, marks=5.0)
    found.marks.append(Mark("raised", 1, 5.5))

    assert ending(found).states == states
    assert "true_state" in {text.partition(":")[0] for text in violations(found)}  # the run says "finished"


def test_job_that_ends_well_has_a_finished_run(tmp_path: Path) -> None:
    found = outcome(tmp_path, ended=("failed", 1))

    assert ending(found).states == {("finished", 0)}
    assert any(text.startswith("true_state") for text in violations(found))


def test_marks_and_results_that_a_kill_has_cut_are_read(tmp_path: Path) -> None:
    marks, results = tmp_path / "marks", tmp_path / "results.csv"
    marks.write_text('{"what": "opened", "life": 1, "at": 2.0}\n{"what": "tra')
    results.write_text("epoch,train/box_loss\n1,0.5\n1,0.4\n2,")

    assert [mark.what for mark in read_marks(marks)] == ["opened"]
    assert read_results(results) == {1: {"train/box_loss": 0.4}}


def test_commands_are_those_that_messages_name_and_ours_come_before_wandbs() -> None:
    output = (
        "run a is on disk only; send it with: ultralytics-wb-ddp sync wandb/offline-run-1-a 'my dir/offline-run-2-a'\n"
        "run a is on disk only; send it with: ultralytics-wb-ddp sync wandb/offline-run-1-a 'my dir/offline-run-2-a'\n"
        "wandb: \x1b[1mwandb sync /home/wandb/offline-run-1-a\x1b[0m\nwandb: wandb sync /home/wandb/offline-run-3-b\n"
        "wandb: Run data is saved locally in /home/wandb/run-4-c\n"
        "wandb: WARNING Fatal error while uploading data. Use `wandb sync` at the end of the run to try uploading.\n"
    )

    assert commands.named_in(output) == [
        ["ultralytics-wb-ddp", "sync", "wandb/offline-run-1-a", "my dir/offline-run-2-a"],
        ["ultralytics-wb-ddp", "sync", "/home/wandb/run-4-c"],
        ["ultralytics-wb-ddp", "sync", "/home/wandb/offline-run-3-b"],
    ]


def test_table_counts_runs_violations_and_limits(tmp_path: Path) -> None:
    broken = outcome(
        tmp_path, strike=Strike("kill every process", 0.5), exit_code=-9, marks=4.0, ended=("running", None)
    )
    verdicts = [judge(outcome(tmp_path)), judge(broken)]

    assert verdicts[1].violations == []
    text = table(verdicts)
    assert "| B open, two processes | kill | 1 | 0 | 1 |" in text
    assert "| B open, two processes | server | 1 | 0 | 0 |" in text
    assert "1 x limit: killed together with its service process" in text
