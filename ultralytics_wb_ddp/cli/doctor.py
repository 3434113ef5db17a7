"""``ultralytics-wb-ddp doctor``: check a training before it starts, or after its end."""

from __future__ import annotations

from pathlib import Path

import click

from ultralytics_wb_ddp import ConfigurationError


@click.command()
@click.option("--project", help="Project of the run.")
@click.option("--entity", help="User or team that owns the project.")
@click.option("--id", "run_id", help="Id of a run to continue.")
@click.option("--mode", type=click.Choice(["online", "offline", "disabled"]), help="Mode of the run.")
@click.option("--dir", "directory", metavar="DIR", help="Directory for W&B's files, as in wandb.init.")
@click.option("--device", metavar="0,1,...", help="The device argument of the coming model.train().")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A WandbManager's YAML with a 'wandb' section, or a job; options on the command line win.",
)
@click.option(
    "--training",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of a training that has run: report what became of its run instead.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds to wait for each answer of the server.",
)
@click.option("--verbose", is_flag=True, help="Show each check of the machine, also those that pass.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(
    run_id: str | None,
    directory: str | None,
    device: str | None,
    config: Path | None,
    training: Path | None,
    timeout: float,
    *,
    verbose: bool,
    as_json: bool,
    **options: str | None,
) -> None:
    """Report what will happen to a training's run, or has happened.

    Each problem is named with its remedy. No run is created or changed. The exit code is 1 if there is an error, else
    0, also with warnings.
    """
    from ultralytics_wb_ddp.doctor import report
    from ultralytics_wb_ddp.doctor.doctor import check_past_training, read_request, run_checks
    from ultralytics_wb_ddp.doctor.finding import CheckResult

    try:
        request = read_request(config, {**options, "id": run_id, "dir": directory}, device=device, timeout=timeout)
    except ConfigurationError as error:
        plan, findings, of_job = None, [CheckResult("options", "error", str(error))], False
    else:
        plan, findings = (None, check_past_training(request, training)) if training else run_checks(request)
        of_job = request.of_job
    if as_json:
        click.echo(report.as_json(plan, findings))
    else:
        report.print_report(plan, findings, of_job=of_job, verbose=verbose)
    raise SystemExit(not report.is_ok(findings))
