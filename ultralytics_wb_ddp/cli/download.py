"""``ultralytics-wb-ddp download``: a run brought back."""

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

    RUN is entity/project/run-id, or its web address. The run's files go below DIR/files, all rows into DIR/history.csv
    or .parquet, what it printed into DIR/console.log. The exit code is 1 if something could not be downloaded.
    """
    from ultralytics_wb_ddp.tools.download import download_run, missing_files_message

    done = download_run(run, directory, format=format, progress=True)
    click.echo(f"{done.history}: {done.rows} rows")
    click.echo(f"{done.directory / 'files'}: {len(done.files)} files")
    click.echo(f"{done.console}" if done.console else "W&B has nothing that the run printed")
    if trouble := missing_files_message(done):
        raise click.ClickException(trouble)
