"""Read the argument files of Ultralytics and YOLOv5, even if damaged."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.training_state import ARGUMENTS
from ultralytics_wb_ddp.utils.logging import format_exception
from ultralytics_wb_ddp.utils.serialization import redact, to_plain

if TYPE_CHECKING:
    from pathlib import Path


OPTIONS, HYPERPARAMETERS = "opt.yaml", "hyp.yaml"  # of YOLOv5 to YOLOv7
UNREADABLE = "\N{REPLACEMENT CHARACTER}"
NOT_IN_YAML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def is_of_yolov5(directory: Path) -> bool:
    """Return whether a directory is of YOLOv5 or of its forks."""
    return not (directory / ARGUMENTS).exists() and (directory / OPTIONS).exists()


def read_arguments(directory: Path) -> tuple[dict[str, Any], list[str]]:
    """Return a training's arguments without secrets, and notes about unreadable parts."""
    is_foreign = is_of_yolov5(directory)
    arguments: dict[str, Any] = {}
    notes: list[str] = []
    for name in (OPTIONS, HYPERPARAMETERS) if is_foreign else (ARGUMENTS,):
        try:
            arguments |= _read(directory / name, notes)
        except Exception as problem:  # noqa: BLE001, PERF203  # damaged in any way
            missing_part = "part of its config" if is_foreign else "config"
            notes.append(
                f"{name} cannot be read ({format_exception(problem).splitlines()[0]}): the run has no {missing_part}"
            )
    return arguments, notes


def foreign_names(options: dict[str, Any]) -> tuple[str, str | None]:
    """Return the W&B project and the directory name of a YOLOv5 training.

    The project is the one that the W&B logger of YOLOv5 uses.

    Args:
        options: Options of the training. The option ``name`` is not the directory name: ``exp2`` has the option
            ``exp``, too.
    """
    paths = (str(options.get(name) or "") for name in ("project", "save_dir"))
    project, saved = (re.split(r"[/\\]", path.rstrip("/\\")) for path in paths)
    is_default = project[-2:] in ([""], ["runs", "train"])
    return "YOLOv5" if is_default else project[-1], saved[-1] or None


def _read(file: Path, notes: list[str]) -> dict[str, Any]:
    """Return the arguments in a file, and add notes about unreadable parts."""
    import yaml

    content = file.read_bytes()
    text = content.decode("utf-16" if content[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig", errors="replace")
    text = NOT_IN_YAML.sub(UNREADABLE, text)
    damaged = [number for number, line in enumerate(text.splitlines(), start=1) if UNREADABLE in line]
    if damaged:
        lines = ", ".join(map(str, damaged))
        notes.append(f"{file.name} is not UTF-8 in line {lines}: what cannot be read there is {UNREADABLE!r}")
    try:
        parsed = yaml.load(text, Loader=_loader())  # noqa: S506  # a safe loader
    except yaml.YAMLError:
        parsed = _read_entries(text, file.name, notes)
    if not isinstance(parsed, dict):
        msg = f"it holds no arguments but {type(parsed).__name__}"
        raise ValueError(msg)  # noqa: TRY004  # the file is wrong, not the program
    arguments: dict[str, Any] = redact(to_plain(parsed))
    return arguments


def _read_entries(text: str, name: str, notes: list[str]) -> dict[str, Any] | None:
    import yaml

    entries: dict[str, Any] = {}
    lines = text.splitlines()
    starts = [index for index, line in enumerate(lines) if re.match(r"[^\s#-]", line)]
    for start, end in zip(starts, [*starts[1:], len(lines)]):
        try:
            entries |= yaml.load("\n".join(lines[start:end]), Loader=_loader())  # noqa: S506  # a safe loader
        except (yaml.YAMLError, TypeError):  # noqa: PERF203  # the other entries are still to be read
            notes.append(f"line {start + 1} of {name} cannot be read and is left out")
    return entries or None


@cache
def _loader() -> Any:
    """Return a YAML loader that reads Python objects as plain values."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
        pass

    def construct(loader: Any, _: str, node: Any) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_scalar(node)
        if isinstance(node, yaml.MappingNode):
            return loader.construct_mapping(node, deep=True)
        return loader.construct_sequence(node, deep=True)

    def construct_path(loader: Any, _: str, node: Any) -> str:
        parts = loader.construct_sequence(node, deep=True)
        return "/".join(map(str, parts)).replace("//", "/")

    Loader.add_multi_constructor("tag:yaml.org,2002:python/object/apply:pathlib.", construct_path)
    Loader.add_multi_constructor("", construct)  # the first that fits counts
    return Loader
