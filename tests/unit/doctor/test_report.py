"""The doctor's report fits a terminal."""

from __future__ import annotations

import pytest

from ultralytics_wb_ddp.doctor.finding import CheckResult
from ultralytics_wb_ddp.doctor.report import print_report


def test_report_stays_within_80_columns_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    long = "word " * 60
    print_report(
        None, [CheckResult("a", "ok", long), CheckResult("b", "error", long, long), CheckResult("c", "warning", long)]
    )

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == "1 error, 1 warning"


def test_report_has_one_line_for_what_is_in_order_on_the_machine_unless_it_is_verbose(
    capsys: pytest.CaptureFixture[str],
) -> None:
    well = [
        CheckResult("python", "ok", "3.12.1"),
        CheckResult("wandb", "ok", "0.31.0"),
        CheckResult("GPUs", "ok", "2 visible"),
    ]
    findings = [*well, *(CheckResult("directory", status, status) for status in ("ok", "error", "ok"))]

    print_report(None, findings)
    assert capsys.readouterr().out.splitlines() == [
        "Checks",
        "  ok       GPUs       2 visible",
        "  error    directory  error",
        "  ok       others     python 3.12.1, wandb 0.31.0, directories",
        "",
        "1 error",
    ]

    print_report(None, findings, verbose=True)
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()[1:-2]] == [each.check for each in findings]
