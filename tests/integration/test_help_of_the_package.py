"""What ``help()`` says of the package."""

from __future__ import annotations

from support.jobs import NIGHTLY, RunJob


@NIGHTLY
def test_help_of_the_package_does_not_show_the_environment(run_job: RunJob) -> None:
    key = "0123456789abcdef" * 3
    said = run_job("help_of_the_package.py", WANDB_API_KEY=key).output

    assert "is_main_process(" in said
    assert key not in said
