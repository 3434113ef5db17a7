"""Releases of Ultralytics for the tests of the patches.

The installed release is always tried. ``ULTRALYTICS_RELEASES`` names further ones, apart by spaces: versions, which pip
installs into a temporary directory, or directories of earlier ``pip install --target``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["PATHS", "RELEASES", "find_release"]

RELEASES = ["installed", *os.environ.get("ULTRALYTICS_RELEASES", "").split()]
PATHS = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]  # stay behind what a test adds


def find_release(name: str, folder: Path) -> Path:
    """Return the directory that holds a release as it is; one that is named by its version is installed into a folder."""
    if name == "installed":
        spec = find_spec("ultralytics")
        assert spec is not None
        assert spec.origin is not None
        return Path(spec.origin).parent.parent
    if Path(name).is_dir():
        return Path(name)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    done = subprocess.run([*command, f"ultralytics=={name}"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install Ultralytics {name}: {done.stderr[-500:]}")
    return folder
