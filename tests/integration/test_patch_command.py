"""The patch command in a process of its own, beside other tools, and in installations that cannot be changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.jobs import NIGHTLY, run_command
from support.paths import ROOT
from support.releases import PATHS
from support.ultralytics_tree import copy_release
from ultralytics_wb_ddp.tools.stock_callback_patch import Diff, read_diffs

COMMAND = Path(sys.executable).with_name("ultralytics-wb-ddp")


class Tree:
    """A directory with a release of Ultralytics, and the command that finds it there."""

    def __init__(self, folder: Path, file: Path) -> None:
        self.folder = folder
        self.file = file
        self.python_path = os.pathsep.join([str(folder), *PATHS])

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_command(self.folder, "patch", *arguments, timeout=60, PYTHONPATH=self.python_path)


@pytest.fixture
def tree(release: Path, tmp_path: Path) -> Tree:
    return Tree(tmp_path, copy_release(release, tmp_path))


def test_command_patches_the_ultralytics_of_its_python_and_puts_it_back(tree: Tree) -> None:
    original = tree.file.read_bytes()

    applied, status = tree.command("apply"), tree.command("status", "--json")
    tree.file.write_bytes(tree.file.read_bytes() + b"# mine\n")
    refused = tree.command("revert")
    tree.file.write_bytes(tree.file.read_bytes().removesuffix(b"# mine\n"))
    reverted = tree.command("revert")

    assert (applied.returncode, refused.returncode, reverted.returncode) == (0, 1, 0)
    assert json.loads(status.stdout)["state"] == "patched"
    assert "holds a part of a patch" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert tree.file.read_bytes() == original


def diff_of(content: bytes) -> Diff:
    """Return the diff for a file of the stock callback."""
    digest = hashlib.sha256(content).hexdigest()
    (diff,) = (diff for diff in read_diffs() if digest in diff.releases)
    return diff


@pytest.mark.parametrize("tool", [("git", "apply"), ("patch", "-p1", "-F0", "-i")], ids=["git", "patch"])
def test_diff_applies_by_hand_in_a_fork(tree: Tree, tool: tuple[str, ...]) -> None:
    if shutil.which(tool[0]) is None:
        pytest.skip(f"there is no {tool[0]} here")
    original = tree.file.read_bytes()
    diff = diff_of(original)

    subprocess.run([*tool, ROOT / "patches" / diff.name], cwd=tree.folder, check=True, capture_output=True)

    assert tree.file.read_bytes() == diff.apply(original)


def test_missing_ultralytics_is_said(tmp_path: Path) -> None:
    script = "import sys; sys.path = [path for path in sys.path if 'site-packages' not in path]; "
    script += f"sys.path.insert(0, {str(ROOT)!r}); "
    script += "from ultralytics_wb_ddp.tools.stock_callback_patch import patch_status; patch_status()"
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    if "ModuleNotFoundError" in done.stderr:
        pytest.skip("nothing can be imported without site-packages")
    assert "Ultralytics is not installed for this Python" in done.stderr


def test_read_only_installation_is_said_and_left_alone(tree: Tree) -> None:
    folder = tree.folder / "ultralytics"
    script = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} || exit 77; {COMMAND} patch apply"
    before = tree.file.read_bytes()
    env = {**os.environ, "PYTHONPATH": tree.python_path}
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], env=env, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1} or "unshare" in done.stderr:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")

    assert done.returncode == 1
    assert "cannot be written (Read-only file system) and is as it was" in done.stderr
    assert tree.file.read_bytes() == before


def test_file_is_whole_at_every_moment(tree: Tree) -> None:
    original = tree.file.read_bytes()
    whole = {original, diff_of(original).apply(original)}
    seen = set()
    turns = (
        "from ultralytics_wb_ddp.tools.stock_callback_patch import *\n"
        "for _ in range(100): apply(patch_status()); revert(patch_status())"
    )

    process = subprocess.Popen([sys.executable, "-c", turns], env={**os.environ, "PYTHONPATH": tree.python_path})
    while process.poll() is None:
        seen.add(tree.file.read_bytes())

    assert process.returncode == 0
    assert seen == whole


@NIGHTLY
def test_wheel_brings_the_diffs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("pip cannot get hatchling")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")

    names = zipfile.ZipFile(wheel).namelist()

    assert {f"ultralytics_wb_ddp/patches/{diff.name}" for diff in read_diffs()} <= set(names)
