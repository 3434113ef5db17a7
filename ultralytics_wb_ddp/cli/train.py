"""``ultralytics-wb-ddp train``: run a job from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ultralytics_wb_ddp.cli.click_types import KeyValueType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ultralytics_wb_ddp.jobs.schema import Job


@click.command()
@click.argument("file", metavar="JOB.YAML", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("overrides", nargs=-1, type=KeyValueType("train.epochs=5"), metavar="[KEY=VALUE]...")
@click.option("--dry-run", is_flag=True, help="Check the job and print what will happen; start nothing.")
def train(file: Path, overrides: tuple[str, ...], *, dry_run: bool) -> None:
    """Run the training that JOB.YAML describes, in one run.

    JOB.YAML also has the inputs and outputs of the run. KEY=VALUE win over the file, such as train.epochs=5 or
    'wandb.tags=[a,b]'. The exit code is 0 when the training and its outputs are complete. The run has the same state.
    """
    from ultralytics_wb_ddp.config.yaml_file import read_config, yaml_errors_as_user_errors
    from ultralytics_wb_ddp.jobs.run_job import run_job
    from ultralytics_wb_ddp.jobs.schema import Job

    with yaml_errors_as_user_errors(file):
        cfg = read_config(file, overrides)
        cfg.setdefault("name", file.stem)  # other settings may refer to it
        job = Job.from_cfg(cfg)
    if dry_run:
        raise SystemExit(not _show(job))
    run_job(cfg)


def _show(job: Job) -> bool:
    """Print plan and problems of a job, and return whether no error exists."""
    from ultralytics_wb_ddp.config.validation import ConfigurationError
    from ultralytics_wb_ddp.doctor import report
    from ultralytics_wb_ddp.doctor.doctor import run_checks
    from ultralytics_wb_ddp.doctor.finding import CheckResult
    from ultralytics_wb_ddp.jobs.checks import check_job, doctor_request_for, find_training_state

    report.print_facts("What will be trained", describe_job(job))
    plan, findings = run_checks(doctor_request_for(job))
    try:
        state = find_training_state(job)
        if state and state.is_over:  # nothing is started
            plan = None
        else:
            check_job(job)
    except ConfigurationError as error:
        findings = [CheckResult("job", "error", str(error)), *(each for each in findings if each.check != "GPUs")]
    report.print_report(plan, findings, of_job=True)
    return report.is_ok(findings)


def describe_job(job: Job) -> Iterator[tuple[str, str]]:
    """Yield a title and a sentence for each step of a job."""
    from ultralytics_wb_ddp.distributed.devices import devices_of
    from ultralytics_wb_ddp.jobs.checks import find_training_state

    yield "job", f"{job.name} of group {job.group}" if job.group else job.name
    yield "model", f"{job.model} ({job.task})" if job.task else job.model
    if state := find_training_state(job):
        completed = ", and the run is completed" if state.is_run_open else ""
        yield "resumes", f"{state}: nothing is trained{completed}" if state.is_over else str(state)
    yield "data", str(job.train.get("data") or "that of the training which is resumed, or of train.cfg")
    if job.parallel.is_distributed():
        place = "as one rank of those that torchrun or srun has started"
    elif len(devices := devices_of(job.train.get("device"), job.parallel)) > 1:
        place = f"in {len(devices)} processes on this machine, which Ultralytics launches"
    else:
        place = "in this process"
    yield "trains", f"{place}, with {job.trainer.__name__}" if job.trainer else place
    shown = {name: value for name, value in job.train.items() if name != "data"}
    yield "arguments", ", ".join(f"{name}={value}" for name, value in shown.items()) or "Ultralytics' own"
    if job.inputs:
        yield "inputs", ", ".join(job.inputs)
    for output in job.outputs:
        source = f"{output.upload}, uploaded to {output.s3}" if output.upload else output.s3
        yield "output", f"{output.name}: {source}"
