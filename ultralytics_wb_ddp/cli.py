"""The command ``ultralytics-wb-ddp``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ultralytics_wb_ddp import ConfigurationError, __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from ultralytics_wb_ddp.patching import Status

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ultralytics-wb-ddp")
def main() -> None:
    """One W&B run for one Ultralytics training, whatever number of processes it takes."""


@main.command()
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("ultralytics_wb_ddp_demo"),
    show_default=True,
    help="Where dataset, training and run are written.",
)
@click.option("--images", type=click.IntRange(8), default=32, show_default=True, help="Number of images to generate.")
@click.option("--epochs", type=click.IntRange(1), default=3, show_default=True, help="Number of epochs.")
@click.option("--online", is_flag=True, help="Send the run to W&B; needs 'wandb login'. Without it the run stays here.")
@click.option("--verbose", is_flag=True, help="Show what Ultralytics and W&B print instead of a progress bar.")
def demo(directory: Path, images: int, epochs: int, *, online: bool, verbose: bool) -> None:
    """Train YOLO11n in two processes on generated images and show the one run that comes out.

    Needs no GPU, no account and no network.
    """
    from subprocess import CalledProcessError

    from wandb.errors import Error as WandbError

    from ultralytics_wb_ddp.demo import run_demo

    try:
        run_demo(directory, images=images, epochs=epochs, online=online, verbose=verbose)
    except (ConfigurationError, WandbError) as error:
        raise click.ClickException(str(error)) from error
    except CalledProcessError as error:
        msg = f"the training ended with exit code {error.returncode}; --verbose shows what it printed"
        raise click.ClickException(msg) from error


@main.command()
@click.option("--project", help="Project of the run.")
@click.option("--entity", help="User or team that owns the project.")
@click.option("--id", "run_id", help="Id of a run to continue.")
@click.option("--mode", type=click.Choice(["online", "offline", "disabled"]), help="Mode of the run.")
@click.option("--dir", "directory", metavar="DIR", help="Directory for W&B's files, as in wandb.init.")
@click.option("--device", metavar="0,1,...", help="What model.train(device=...) will be given.")
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML whose 'wandb' section a WandbManager will be given; options given here win.",
)
@click.option(
    "--training",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Directory of a training that has run: say what became of its run instead.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds that the server has for each answer.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(
    run_id: str | None,
    directory: str | None,
    device: str | None,
    config: Path | None,
    training: Path | None,
    timeout: float,
    *,
    as_json: bool,
    **given: str | None,
) -> None:
    """Say what will happen to the run of a training, and what stands against it.

    No run is made and none is changed. The exit code is 1 if something is wrong; a warning is not.
    """
    from ultralytics_wb_ddp.doctor import Finding, examine, examine_training, read_request, report

    try:
        request = read_request(config, {**given, "id": run_id, "dir": directory}, device=device, timeout=timeout)
    except ConfigurationError as error:
        plan, findings = None, [Finding("options", "error", str(error))]
    else:
        plan, findings = (None, examine_training(request, training)) if training else examine(request)
    if as_json:
        click.echo(report.as_json(plan, findings))
    else:
        report.print_report(plan, findings)
    raise SystemExit(not report.is_well(findings))


@main.command()
@click.argument(
    "folders",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER...",
)
def sync(folders: tuple[Path, ...]) -> None:
    """Send what W&B's FOLDERs have on disk and the service has not got.

    Give the parts of a run in their order. Rows that have arrived are not sent again, as 'wandb sync' would do.
    """
    from ultralytics_wb_ddp.doctor.server import Trouble
    from ultralytics_wb_ddp.sync import sync

    try:
        raise SystemExit(sync(folders))
    except (Trouble, ValueError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("run", metavar="RUN")
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--format", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True, help="Format of the history."
)
def download(run: str, directory: Path, format: str) -> None:  # noqa: A002  # the option's name
    """Download a RUN (entity/project/run-id, or its web address) into DIR.

    The run's files go below DIR/files, all rows into DIR/history.csv or .parquet, what it printed into
    DIR/console.log. The exit code is 1 if something could not be downloaded.
    """
    from ultralytics_wb_ddp.download import DownloadError, download_run, missing_of

    try:
        done = download_run(run, directory, format=format)
    except DownloadError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{done.history}: {done.rows} rows")
    click.echo(f"{done.directory / 'files'}: {len(done.files)} files")
    click.echo(f"{done.console}" if done.console else "W&B has nothing that the run printed")
    if trouble := missing_of(done):
        raise click.ClickException(trouble)


@main.command()
@click.argument("run", metavar="RUN")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="Directory for the training.")
@click.option("--data", metavar="DATA", help="The dataset, where it is not at the place that the training knew.")
@click.option("--alias", default="last", show_default=True, help="Checkpoint to go on from: 'last' or 'epoch-N'.")
@click.option("--no-train", is_flag=True, help="Only restore the directory.")
def resume(
    run: str, overrides: tuple[str, ...], directory: Path | None, data: str | None, alias: str, *, no_train: bool
) -> None:
    """Continue the training of RUN (entity/project/run-id) on this machine, in the same run.

    Its last checkpoint is downloaded, into runs/RUN-ID unless --dir says otherwise. KEY=VALUE are arguments of
    model.train that may change when a training is resumed, such as device=0,1 or batch=32.
    """
    from omegaconf import OmegaConf

    from ultralytics_wb_ddp.restore import RestoreError, restore_checkpoint

    if wrong := [word for word in overrides if "=" not in word]:
        msg = f"{wrong[0]!r} is no KEY=VALUE, such as device=0,1"
        raise click.UsageError(msg)
    try:
        checkpoint = restore_checkpoint(run, directory, data=data, alias=alias)
    except RestoreError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{checkpoint}")
    if not no_train:
        from ultralytics import YOLO

        from ultralytics_wb_ddp import add_wandb_callback

        model = YOLO(checkpoint)
        add_wandb_callback(model)
        arguments = OmegaConf.from_dotlist(list(overrides))
        model.train(resume=True, **{str(key): value for key, value in arguments.items()})


@main.command()
@click.argument("run", metavar="RUN")
@click.option("--keep", type=click.IntRange(0), required=True, help="How many of the newest checkpoints are kept.")
@click.option("--ttl", type=click.IntRange(1), metavar="DAYS", help="Let the others live on for DAYS instead.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
def prune(run: str, keep: int, ttl: int | None, *, dry_run: bool) -> None:
    """Delete checkpoints of RUN (entity/project/run-id) at W&B.

    The best and the last one are kept, and those with an alias of yours.
    """
    from ultralytics_wb_ddp.retention import RetentionError, prune

    try:
        chosen = prune(run, keep=keep, ttl=ttl, dry_run=dry_run)
    except RetentionError as error:
        raise click.ClickException(str(error)) from error
    verb = f"{'would be' if dry_run else 'is'} deleted{f' in {ttl} days' if ttl else ''}"
    for version in chosen:
        about = ", ".join([*version.aliases, f"{version.size} byte{'' if version.size == 1 else 's'}"])
        click.echo(f"v{version.number} ({about}) {verb}")
    if not chosen:
        click.echo("nothing to do")


@main.group()
def patch() -> None:
    """Have the stock W&B callback of Ultralytics continue the run that WANDB_RUN_ID and WANDB_PROJECT name.

    For trainings that no callback gets to: the 'yolo' command, model.tune(), scripts that cannot be changed. One file
    of the Ultralytics that this Python finds is changed. The exit code is 0 if what is asked for is done, or was
    already, and 1 if it cannot be done, which a message explains; then nothing is changed.
    """


@patch.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(*, as_json: bool) -> None:
    """Say whether the stock callback is patched; the exit code is 1 if it can neither be patched nor put back."""
    from ultralytics_wb_ddp.patching import PatchError, examine

    found, trouble = None, None
    try:
        found = examine()
        trouble = found.trouble
    except PatchError as error:
        trouble = str(error)
    if as_json:
        facts = {
            "release": found and found.release,
            "file": found and str(found.file),
            "state": found.state if found else "missing",
            "era": found and found.era,
            "diff": found.diff.name if found and found.diff else None,
            "trouble": trouble,
        }
        click.echo(json.dumps(facts, indent=2))
    elif found and not trouble:
        click.echo(_describe(found))
    if trouble and not as_json:
        raise click.ClickException(trouble)
    raise SystemExit(bool(trouble))


@patch.command()
def apply() -> None:
    """Patch the stock callback."""
    from ultralytics_wb_ddp import patching

    _change(patching.apply, done="patched now", kept="was patched already")


@patch.command()
def revert() -> None:
    """Put the original stock callback back, byte for byte."""
    from ultralytics_wb_ddp import patching

    _change(patching.revert, done="put back as it was released", kept="was not patched")


def _change(change: Callable[[Status], bool], *, done: str, kept: str) -> None:
    from ultralytics_wb_ddp.patching import PatchError, examine

    try:
        found = examine()
        text = done if change(found) else kept
    except PatchError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{found.file} {text} (Ultralytics {found.release})")


def _describe(found: Status) -> str:
    state = "patched" if found.state == "patched" else "not patched"
    return f"Ultralytics {found.release}: {state}; the file is that of {found.era} ({found.file})"


if __name__ == "__main__":
    main()
