"""Check the machine for a training: installed packages, GPUs, directories."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.distributed.train import MIN_VERSION_PICKLED_TRAINER
from ultralytics_wb_ddp.doctor.finding import CheckResult, error, ok, warning
from ultralytics_wb_ddp.utils.logging import format_exception
from ultralytics_wb_ddp.utils.versions import version_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ultralytics_wb_ddp.doctor.finding import DoctorRequest


PYTHON = ((3, 10), (3, 13))
OLDEST = {"ultralytics": "8.3.0", "wandb": "0.28.1", "torch": "", "cloudpickle": ""}
LITTLE_SPACE = 1024**3  # bytes
DEVICE = re.compile(r"-1|\d+|none|cpu|cuda|mps|(npu|xpu)(:\d+)?|(tpu|intel|vulkan).*", re.IGNORECASE)  # Ultralytics'


@contextlib.contextmanager
def quiet_output() -> Iterator[None]:
    """Hide the output of Ultralytics and wandb."""
    os.environ["WANDB_SILENT"] = "true"
    os.environ.setdefault("YOLO_VERBOSE", "False")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def check_packages(request: DoctorRequest) -> list[CheckResult]:
    """Check that the required packages can be imported, in supported releases."""
    findings = [_check_python()]
    for name, oldest in OLDEST.items():
        try:
            with quiet_output():
                version = str(import_module(name).__version__)
        except Exception as problem:  # noqa: BLE001  # a broken installation can raise anything
            findings.append(
                error(name, f"cannot be imported: {format_exception(problem)}", f"pip install '{_required(name)}'")
            )
            continue
        if version_of(version) < version_of(oldest):
            text = f"{version} is too old, {oldest} or newer is needed"
            findings.append(error(name, text, f"pip install --upgrade '{_required(name)}'"))
        elif name == "ultralytics" and version_of(version) < MIN_VERSION_PICKLED_TRAINER and len(request.devices) > 1:
            text = f"{version} leaves callbacks behind that were registered with model.add_callback"
            findings.append(warning(name, text, "use add_wandb_callback(model), which takes them along"))
        else:
            findings.append(ok(name, version))
    return [*findings, *_stock_callback()]


def check_gpus(request: DoctorRequest) -> list[CheckResult]:
    """Compare the GPUs that torch sees with the requested devices."""
    if wrong := [name for name in request.devices if not DEVICE.fullmatch(name)]:
        names = ", ".join(map(repr, wrong))
        text = f"device {request.device}: {names} {'is no device' if len(wrong) == 1 else 'are no devices'}"
        return [error("GPUs", text, "give numbers of GPUs, such as 0,1, or one word, such as cpu")]
    try:
        import torch

        count, built = int(torch.cuda.device_count()), bool(torch.backends.cuda.is_built())
    except Exception:  # noqa: BLE001  # check_packages has reported it
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    setting = f" (CUDA_VISIBLE_DEVICES={visible})" if visible else ""
    visible_gpus = f"{count} GPU{'' if count == 1 else 's'} visible{setting}"
    requested = [name for name in request.devices if name.lstrip("-").isdecimal()]
    if not requested:
        return [ok("GPUs", visible_gpus + ("" if built else "; this torch is built without CUDA"))]
    missing = not visible and any(int(name) >= count for name in requested)  # CUDA_VISIBLE_DEVICES renumbers the GPUs
    if not missing and len(requested) <= count:
        return [ok("GPUs", f"{visible_gpus}, {len(requested)} asked for")]
    text = f"device {request.device} asks for {len(requested)}; {visible_gpus}"
    if count == 0:
        cause = "this torch sees none" if built else "this torch is built without CUDA"
        return [warning("GPUs", text, f"{cause}; ask where the training will run, or train with device=cpu")]
    return [error("GPUs", text, "name GPUs that are there, counted from 0")]


def check_directories(request: DoctorRequest, settings: Any) -> list[CheckResult]:
    """Check that W&B's and Ultralytics' directories are writable, with enough space."""
    contents: dict[Path, list[str]] = {}
    for content, path in _directories(request, settings):
        contents.setdefault(Path(path).expanduser().absolute(), []).append(content)
    return [_check_directory(" and ".join(dict.fromkeys(names)), path) for path, names in contents.items()]


def _directories(request: DoctorRequest, settings: Any) -> Iterator[tuple[str, str | Path]]:
    if settings is not None:
        from ultralytics_wb_ddp.wandb_client.internals import storage_directories

        cache, uploads = storage_directories()
        yield "W&B's files", request.directory or settings.root_dir
        yield "W&B's cache", cache
        yield "W&B's uploads", uploads
    with contextlib.suppress(Exception), quiet_output():  # check_packages has reported the error
        from ultralytics.utils import SETTINGS, USER_CONFIG_DIR

        yield "Ultralytics' settings", USER_CONFIG_DIR
        yield "Ultralytics' trainings", SETTINGS.get("runs_dir") or "runs"
    yield "temporary files", tempfile.gettempdir()


def _check_directory(content: str, path: Path) -> CheckResult:
    check = "directory"
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    remedy = "give a directory that can be written"
    if not existing.is_dir():
        return error(check, f"{content}: {path} cannot be created, because {existing} is a file", remedy)
    try:
        if not os.access(existing, os.W_OK | os.X_OK):
            return error(check, f"{content}: {existing} is not writable for this user", remedy)
        with tempfile.TemporaryFile(dir=existing):
            pass
        free = shutil.disk_usage(existing).free
    except OSError as problem:
        return error(check, f"{content}: {existing} cannot be written: {problem.strerror or problem}", remedy)
    text = f"{content}: {path}, {free / LITTLE_SPACE:.1f} GiB free"
    if free < LITTLE_SPACE:
        return warning(check, text, "make room: checkpoints and what W&B has not sent yet need it")
    return ok(check, text)


def _check_python() -> CheckResult:
    version = sys.version_info[:2]
    text = ".".join(map(str, sys.version_info[:3]))
    if PYTHON[0] <= version <= PYTHON[1]:
        return ok("python", text)
    supported = " to ".join(".".join(map(str, bound)) for bound in PYTHON)
    return warning("python", f"{text} is not tested", f"use Python {supported}")


def _stock_callback() -> list[CheckResult]:
    try:
        with quiet_output():
            from ultralytics.utils import SETTINGS

            is_on = bool(SETTINGS.get("wandb"))
    except Exception:  # noqa: BLE001  # check_packages has reported it
        return []
    return (
        [ok("stock", "yolo settings wandb=True; the stock callback is switched off for each training")] if is_on else []
    )


def _required(name: str) -> str:
    return f"{name}>={OLDEST[name]}" if OLDEST[name] else name
