"""What is stored beside the metrics: the training's inputs, references to S3."""

from __future__ import annotations

import re
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.log import logger

if TYPE_CHECKING:
    import os

__all__ = ["log_files", "log_s3_reference"]

S3_PATH = re.compile(r"s3://[^/]+/.+")


def log_files(run: Any, paths: tuple[str | os.PathLike[str], ...], name: str, kind: str) -> Any:
    """Log files and folders, with the list of installed packages, as one artifact.

    Args:
        run: The ``wandb.Run``.
        paths: Files, stored by their name, and folders, stored under their name.
        name: Name of the artifact.
        kind: Type of the artifact.

    Returns:
        The ``wandb.Artifact``, whose ``requirements.txt`` lists the packages as ``pip freeze`` would.

    Raises:
        FileNotFoundError: A path does not exist.
        ValueError: Two paths have the same name.
    """
    import wandb

    by_name: dict[str, Path] = {"requirements.txt": Path("requirements.txt")}
    for path in map(Path, paths):
        if not path.exists():
            msg = f"{str(path)!r} does not exist and cannot be stored in artifact {name!r}; check the path"
            raise FileNotFoundError(msg)
        inside = path.resolve().name
        if inside in by_name:
            msg = (
                f"{str(path)!r} and {str(by_name[inside])!r} would both be {inside!r} in artifact {name!r}; "
                "rename one or give a folder that holds both"
            )
            raise ValueError(msg)
        by_name[inside] = path
    artifact = wandb.Artifact(name=name, type=kind)
    for inside, path in list(by_name.items())[1:]:
        if path.is_dir():
            artifact.add_dir(str(path), name=inside)
        else:
            artifact.add_file(str(path), name=inside)
    with artifact.new_file("requirements.txt", encoding="utf-8") as file:
        file.write(installed_packages())
    return run.log_artifact(artifact)


def installed_packages() -> str:
    """Return the installed packages as lines ``name==version``, sorted, as ``pip freeze`` would list them."""
    found = {(entry.metadata["Name"] or "", entry.version) for entry in distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found, key=lambda pair: pair[0].lower()) if name)


def log_s3_reference(run: Any, s3_path: str, name: str, kind: str) -> Any:
    """Log an artifact that refers to an object in S3 and never fails the job.

    With boto3 and credentials the reference carries the object's checksum and size; without credentials, or where
    the object cannot be read, it is recorded without them. Without boto3 W&B records no S3 reference at all.

    Args:
        run: The ``wandb.Run``.
        s3_path: Where the object lies: ``s3://bucket/key``.
        name: Name of the artifact.
        kind: Type of the artifact.

    Returns:
        The ``wandb.Artifact``; None when nothing was recorded, which a message explains.
    """
    import wandb

    if not S3_PATH.fullmatch(s3_path):
        logger.info("artifact %s is skipped: %r is no S3 path of the form s3://bucket/key", name, s3_path)
        return None
    try:
        import boto3
    except ImportError:
        logger.warning(
            "artifact %s is not recorded: W&B needs boto3 for a reference to %s; "
            "install it with: pip install 'ultralytics-wb-ddp[s3]'",
            name,
            s3_path,
        )
        return None
    try:
        artifact = wandb.Artifact(name=name, type=kind)
        try:
            if boto3.Session().get_credentials() is None:
                msg = "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
                raise PermissionError(msg)  # noqa: TRY301  # every cause ends in the same warning
            artifact.add_reference(s3_path)
        except Exception as error:  # noqa: BLE001  # boto3 and wandb raise many kinds, none may end the job
            logger.warning("artifact %s refers to %s without checksum and size: %s", name, s3_path, error)
            artifact.add_reference(s3_path, checksum=False)
        return run.log_artifact(artifact)
    except Exception as error:  # noqa: BLE001  # the same
        logger.warning("artifact %s, a reference to %s, is not recorded: %s", name, s3_path, error)
        return None
