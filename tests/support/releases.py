"""Releases of Ultralytics and wandb for the tests: those that are installed, and others that pip puts into a directory.

``ULTRALYTICS_RELEASES`` and ``WANDB_RELEASES`` name further ones, apart by spaces: versions, or directories of earlier
``pip install --target``. The tests of the patches try the installed Ultralytics and the further ones; those of the
matrix try every further Ultralytics with every further wandb.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from ultralytics_wb_ddp.utils.versions import version_of

__all__ = ["INSTALLED", "NAMED", "PATHS", "RELEASES", "Releases", "number_of"]

INSTALLED = "installed"
NAMED = {name: os.environ.get(f"{name.upper()}_RELEASES", "").split() for name in ("ultralytics", "wandb")}
RELEASES = [INSTALLED, *NAMED["ultralytics"]]
PATHS = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]  # stay behind what a test adds

# What releases before 8.4.90 import and later ones do without. What these need in turn is named as well: pip would bring
# another NumPy with them.
OF_OLD_RELEASES = ["pandas", "scipy", "seaborn", "py-cpuinfo", "tqdm", "python-dateutil", "pytz", "six", "tzdata"]


class Releases:
    """Directories with releases.

    Args:
        folder: Directory in which pip's results are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, ultralytics: Path, wandb: str = INSTALLED) -> str:
        """Return a PYTHONPATH that leads to a directory with Ultralytics and to a release of wandb."""
        paths = [] if ultralytics == _installed() else [ultralytics]
        if wandb not in {INSTALLED, version("wandb")}:  # with what it needs, such as an older protobuf
            paths.insert(0, self._find(wandb, f"wandb=={wandb}"))
        if number_of(ultralytics) < (8, 4, 90):
            paths.append(self._install("of-old-releases", *OF_OLD_RELEASES, "--no-deps"))
        return os.pathsep.join([*map(str, paths), *PATHS])

    def ultralytics(self, name: str) -> Path:
        """Return a directory that holds a release of Ultralytics as it is."""
        if name in {INSTALLED, version("ultralytics")}:
            return _installed()
        return self._find(name, f"ultralytics=={name}", "--no-deps")

    def _find(self, name: str, *words: str) -> Path:
        return Path(name) if Path(name).is_dir() else self._install(words[0], *words)

    def _install(self, name: str, *words: str) -> Path:
        """Return a directory with packages, which is made once for all processes of the tests."""
        folder = self._folder / f"{name}-{sys.implementation.cache_tag}"
        if folder.is_dir():
            return folder
        draft = Path(tempfile.mkdtemp(dir=self._folder))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(draft), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(draft)
            pytest.skip(f"pip cannot install {name}: {done.stderr[-500:]}")
        try:
            draft.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
        return folder


def number_of(ultralytics: Path) -> tuple[int, ...]:
    """Return the numbers of the release that a directory holds."""
    text = (ultralytics / "ultralytics/__init__.py").read_text(encoding="utf-8")
    return version_of(re.findall(r'^__version__ = "(.+?)"', text, re.MULTILINE)[0])


def _installed() -> Path:
    spec = find_spec("ultralytics")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.parent
