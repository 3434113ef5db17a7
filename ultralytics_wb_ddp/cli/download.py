"""``ultralytics-wb-ddp download``: download a finished run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--format", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True, help="Format of the history."
)
def download(run: str, directory: Path, format: str) -> None:  # noqa: A002  # the option's name
    """Download the history and the files of a run.

    RUN is entity/project/run-id, or its URL. The run's files go to DIR/files, all rows to DIR/history.csv or .parquet,
    and the console output to DIR/console.log. The exit code is 1 if something could not be downloaded.
    """
    from ultralytics_wb_ddp.tools.download import download_run, missing_files_message
    from ultralytics_wb_ddp.utils.logging import pluralize

    result = download_run(run, directory, format=format, progress=True)
    click.echo(f"{result.history}: {pluralize(result.rows, 'row')}")
    click.echo(f"{result.directory / 'files'}: {pluralize(len(result.files), 'file')}")
    click.echo(f"{result.console}" if result.console else "W&B has nothing that the run printed")
    if problem := missing_files_message(result):
        raise click.ClickException(problem)
