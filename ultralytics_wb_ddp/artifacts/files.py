"""Log files and folders of a training as one artifact."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.wandb_client.internals import log_artifact

if TYPE_CHECKING:
    import os


def log_files(run: Any, paths: tuple[str | os.PathLike[str], ...], name: str, kind: str) -> Any:
    """Log files, folders and the list of installed packages as one artifact.

    Files are stored by their name, folders under their name. ``requirements.txt`` lists the packages as ``pip freeze``
    would.

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
    return log_artifact(run, artifact)


def installed_packages() -> str:
    """Return the installed packages as sorted lines ``name==version``, as ``pip freeze`` does."""
    listed = {(entry.metadata["Name"] or "", entry.version) for entry in distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(listed, key=lambda pair: pair[0].lower()) if name)
