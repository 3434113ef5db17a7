"""The patches of the stock callback: the command's way with the file, which it finds in every release."""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.paths import ROOT
from support.ultralytics_tree import copy_release
from ultralytics_wb_ddp.cli.main import main
from ultralytics_wb_ddp.tools import stock_callback_patch

DIFFS = stock_callback_patch.read_diffs()


def patch_command(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["patch", *arguments], catch_exceptions=False)


class Tree:
    """A directory with a release of Ultralytics, which the command finds."""

    def __init__(self, folder: Path, file: Path) -> None:
        self.folder = folder
        self.file = file

    @property
    def state(self) -> str:
        return str(json.loads(patch_command("status", "--json").stdout)["state"])


@pytest.fixture
def tree(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.delitem(sys.modules, "ultralytics", raising=False)  # otherwise it is the one that is found
    monkeypatch.syspath_prepend(str(tmp_path))
    file = copy_release(release, tmp_path)
    importlib.invalidate_caches()
    return Tree(tmp_path, file)


def test_apply_and_revert_give_back_every_byte_and_leave_nothing(tree: Tree) -> None:
    original, mode = tree.file.read_bytes(), 0o640
    tree.file.chmod(mode)
    before = sorted(tree.folder.rglob("*"))

    applied = patch_command("apply")
    patched = tree.file.read_bytes()

    assert applied.exit_code == 0, applied.stderr
    assert re.fullmatch(rf"patched now \(Ultralytics \S+\): {re.escape(str(tree.file))}\n", applied.stdout)
    assert b"def _continue_run(trainer):" in patched
    assert tree.file.stat().st_mode & 0o777 == mode
    assert tree.state == "patched"

    again = patch_command("apply")
    assert (again.exit_code, tree.file.read_bytes()) == (0, patched)
    assert again.stdout.startswith("was patched already (Ultralytics ")

    reverted = patch_command("revert")
    assert reverted.exit_code == 0, reverted.stderr
    assert tree.file.read_bytes() == original
    assert tree.file.stat().st_mode & 0o777 == mode
    assert sorted(tree.folder.rglob("*")) == before

    again = patch_command("revert")
    assert (again.exit_code, tree.file.read_bytes()) == (0, original)
    assert again.stdout.startswith("was not patched (Ultralytics ")


def test_status_tells_release_era_and_state(tree: Tree) -> None:
    (version,) = [
        line.split('"')[1]
        for line in (tree.folder / "ultralytics/__init__.py").read_text().splitlines()
        if line.startswith("__version__")
    ]

    text = patch_command("status").stdout
    facts = json.loads(patch_command("status", "--json").stdout)

    assert text.startswith(f"not patched (Ultralytics {version}, whose file is that of ")
    assert text.endswith(f": {tree.file}\n")
    assert (facts["release"], facts["state"], facts["trouble"]) == (version, "original", None)
    assert facts["era"] in text
    patch_command("apply")
    patched = patch_command("status").stdout
    assert patched.startswith(f"patched (Ultralytics {version}, whose file is that of {facts['era']}): ")


def refused(tree: Tree, *words: str) -> None:
    """Assert that every command says why, and changes nothing."""
    before = tree.file.read_bytes()
    for command in ("status", "apply", "revert"):
        done = patch_command(command)
        assert done.exit_code == 1, done.stdout
        assert not [word for word in words if word not in done.stderr], done.stderr
        assert "Traceback" not in done.stderr
    assert tree.file.read_bytes() == before
    assert sorted(path.name for path in tree.file.parent.iterdir()) == ["wb.py"]


def test_file_with_changes_of_another_origin_is_left_alone(tree: Tree) -> None:
    tree.file.write_bytes(tree.file.read_bytes() + b"# mine\n")

    refused(tree, "has changes of another origin", "--force-reinstall --no-deps ultralytics==8.")
    assert tree.state == "changed"


def test_patched_file_with_changes_of_another_origin_is_left_alone(tree: Tree) -> None:
    patch_command("apply")
    tree.file.write_bytes(tree.file.read_bytes() + b"# mine\n")

    refused(tree, "holds a part of a patch", "--force-reinstall")


def test_half_applied_file_is_left_alone(tree: Tree) -> None:
    original = tree.file.read_bytes().splitlines(keepends=True)
    patch_command("apply")
    patched = tree.file.read_bytes().splitlines(keepends=True)
    tree.file.write_bytes(b"".join(patched[:170] + original[len(original) - 20 :]))

    refused(tree, "holds a part of a patch", "--force-reinstall")
    assert tree.state == "partly patched"


def test_unknown_release_with_a_known_file_is_patched(tree: Tree) -> None:
    (tree.folder / "ultralytics/__init__.py").write_text('__version__ = "8.9.0"\n')

    assert patch_command("apply").exit_code == 0
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

    done = patch_command("apply")

    assert done.exit_code == 1
    assert "cannot be read (No such file or directory)" in done.stderr
    assert json.loads(patch_command("status", "--json").stdout)["state"] == "missing"


def test_diffs_name_each_content_once_and_their_releases() -> None:
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
