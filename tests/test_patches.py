"""The patches of the stock callback: what the command does to the file, which it finds in every release."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.jobs import run_command
from support.paths import ROOT
from support.releases import PATHS
from ultralytics_wb_ddp.tools import stock_callback_patch

DIFFS = stock_callback_patch.read_diffs()


class Tree:
    """A directory with what the command looks at, and the command that finds it there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / stock_callback_patch.TARGET

    def command(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(self.folder), *PATHS])
        return run_command(self.folder, "patch", *arguments, timeout=timeout, PYTHONPATH=path)

    @property
    def state(self) -> str:
        return str(json.loads(self.command("status", "--json").stdout)["state"])


@pytest.fixture
def tree(release: Path, tmp_path: Path) -> Tree:
    """What the command looks at, of a release."""
    for name in (stock_callback_patch.TARGET, "ultralytics/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(release / name, tmp_path / name)
    for record in release.glob("ultralytics-8*.dist-info/RECORD"):
        (tmp_path / record.relative_to(release)).parent.mkdir()
        shutil.copy2(record, tmp_path / record.relative_to(release))
    return Tree(tmp_path)


def test_apply_and_revert_give_back_every_byte_and_leave_nothing(tree: Tree) -> None:
    original, mode = tree.file.read_bytes(), 0o640
    tree.file.chmod(mode)
    before = sorted(tree.folder.rglob("*"))

    applied = tree.command("apply")
    patched = tree.file.read_bytes()

    assert applied.returncode == 0, applied.stderr
    assert re.fullmatch(rf"patched now \(Ultralytics \S+\): {re.escape(str(tree.file))}\n", applied.stdout)
    assert b"def _continue_run(trainer):" in patched
    assert tree.file.stat().st_mode & 0o777 == mode
    assert tree.state == "patched"

    again = tree.command("apply")
    assert (again.returncode, tree.file.read_bytes()) == (0, patched)
    assert again.stdout.startswith("was patched already (Ultralytics ")

    reverted = tree.command("revert")
    assert reverted.returncode == 0, reverted.stderr
    assert tree.file.read_bytes() == original
    assert tree.file.stat().st_mode & 0o777 == mode
    assert sorted(path for path in tree.folder.rglob("*") if path.name not in {"home", "yolo"}) == before

    again = tree.command("revert")
    assert (again.returncode, tree.file.read_bytes()) == (0, original)
    assert again.stdout.startswith("was not patched (Ultralytics ")


@pytest.mark.parametrize("tool", [("git", "apply"), ("patch", "-p1", "-F0", "-i")], ids=["git", "patch"])
def test_diff_applies_by_hand_in_a_fork(tree: Tree, tool: tuple[str, ...]) -> None:
    if shutil.which(tool[0]) is None:
        pytest.skip(f"there is no {tool[0]} here")
    status = json.loads(tree.command("status", "--json").stdout)

    subprocess.run([*tool, ROOT / "patches" / status["diff"]], cwd=tree.folder, check=True, capture_output=True)
    by_hand = tree.file.read_bytes()

    assert tree.state == "patched"
    tree.command("revert")
    tree.command("apply")
    assert tree.file.read_bytes() == by_hand


def test_status_tells_release_era_and_state(tree: Tree) -> None:
    (version,) = [
        line.split('"')[1]
        for line in (tree.folder / "ultralytics/__init__.py").read_text().splitlines()
        if line.startswith("__version__")
    ]

    text = tree.command("status").stdout
    facts = json.loads(tree.command("status", "--json").stdout)

    assert text.startswith(f"not patched (Ultralytics {version}, whose file is that of ")
    assert text.endswith(f": {tree.file}\n")
    assert (facts["release"], facts["state"], facts["trouble"]) == (version, "original", None)
    assert facts["era"] in text
    tree.command("apply")
    patched = tree.command("status").stdout
    assert patched.startswith(f"patched (Ultralytics {version}, whose file is that of {facts['era']}): ")


def refused(tree: Tree, *words: str) -> None:
    """Every command says why, and changes nothing."""
    before = tree.file.read_bytes()
    for command in ("status", "apply", "revert"):
        done = tree.command(command)
        assert done.returncode == 1, done.stdout
        assert not [word for word in words if word not in done.stderr], done.stderr
        assert "Traceback" not in done.stderr
    assert tree.file.read_bytes() == before
    assert sorted(path.name for path in tree.file.parent.iterdir()) == ["wb.py"]


def test_file_that_somebody_else_has_changed_is_left_alone(tree: Tree) -> None:
    tree.file.write_bytes(tree.file.read_bytes() + b"# mine\n")

    refused(tree, "has changes of another origin", "--force-reinstall --no-deps ultralytics==8.")
    assert tree.state == "changed"


def test_patched_file_that_somebody_else_has_changed_is_left_alone(tree: Tree) -> None:
    tree.command("apply")
    tree.file.write_bytes(tree.file.read_bytes() + b"# mine\n")

    refused(tree, "holds a part of a patch", "--force-reinstall")


def test_half_applied_file_is_left_alone(tree: Tree) -> None:
    original = tree.file.read_bytes().splitlines(keepends=True)
    tree.command("apply")
    patched = tree.file.read_bytes().splitlines(keepends=True)
    tree.file.write_bytes(b"".join(patched[:170] + original[len(original) - 20 :]))

    refused(tree, "holds a part of a patch", "--force-reinstall")
    assert tree.state == "partly patched"


def test_unknown_release_with_a_known_file_is_patched(tree: Tree) -> None:
    (tree.folder / "ultralytics/__init__.py").write_text('__version__ = "8.9.0"\n')

    assert tree.command("apply").returncode == 0
    assert tree.state == "patched"


@pytest.mark.parametrize("has_record", [True, False])
def test_unknown_release_with_an_unknown_file_is_left_alone(tree: Tree, *, has_record: bool) -> None:
    (tree.folder / "ultralytics/__init__.py").write_text('__version__ = "8.9.0"\n')
    tree.file.write_bytes(b"wb = None\n")
    if has_record:
        (tree.folder / "ultralytics-8.9.0.dist-info").mkdir()
        digest = base64.urlsafe_b64encode(hashlib.sha256(b"wb = None\n").digest()).rstrip(b"=").decode()
        (tree.folder / "ultralytics-8.9.0.dist-info/RECORD").write_text(
            f"ultralytics/utils/callbacks/wb.py,sha256={digest},10\n"
        )

    refused(tree, "no patch is known for the file of Ultralytics 8.9.0", "8.3.0 to 8.4.190")
    assert tree.state == "unknown"


def test_missing_file_of_ultralytics_is_said(tree: Tree) -> None:
    tree.file.unlink()

    done = tree.command("apply")

    assert done.returncode == 1
    assert "cannot be read (No such file or directory)" in done.stderr
    assert json.loads(tree.command("status", "--json").stdout)["state"] == "missing"


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
    path = os.pathsep.join([str(tree.folder), *PATHS])
    command = Path(sys.executable).with_name("ultralytics-wb-ddp")
    folder = tree.folder / "ultralytics"
    script = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} || exit 77; {command} patch apply"
    before = tree.file.read_bytes()
    env = {**os.environ, "PYTHONPATH": path}
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
    tree.command("apply")
    whole = {original, tree.file.read_bytes()}
    seen = set()
    path = os.pathsep.join([str(tree.folder), *PATHS])
    turns = "from ultralytics_wb_ddp.tools.stock_callback_patch import *\nfor _ in range(100): revert(patch_status()); apply(patch_status())"

    process = subprocess.Popen([sys.executable, "-c", turns], env={**os.environ, "PYTHONPATH": path})
    while process.poll() is None:
        seen.add(tree.file.read_bytes())

    assert process.returncode == 0
    assert seen == whole


def test_diffs_name_each_content_once_and_say_what_they_are_for() -> None:
    digests = [digest for diff in DIFFS for digest in diff.releases]
    readme = (ROOT / "patches/README.md").read_text(encoding="utf-8")

    assert len(digests) == len(set(digests)) == 23
    assert [diff.name for diff in DIFFS if f"`{diff.name}`" not in readme] == []
    for diff in DIFFS:
        spans = list(diff.releases.values())
        assert diff.name == f"{spans[0].split(' to ')[0]}-{spans[-1].split(' to ')[-1]}.diff"


@pytest.mark.parametrize(
    "damage", [("@@ -", "@@ "), ("sha256", "sha255"), ("--- a", "--- b"), ("\n+def _continues", "\ndef _continues")]
)
def test_damaged_diff_is_said(tmp_path: Path, damage: tuple[str, str]) -> None:
    (tmp_path / "a.diff").write_text((ROOT / "patches" / DIFFS[0].name).read_text().replace(*damage))

    with pytest.raises(ValueError, match="is damaged"):
        stock_callback_patch.Diff.read(tmp_path / "a.diff")


def test_wheel_brings_the_diffs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("pip cannot get hatchling")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")

    names = zipfile.ZipFile(wheel).namelist()

    assert {f"ultralytics_wb_ddp/patches/{diff.name}" for diff in DIFFS} <= set(names)
