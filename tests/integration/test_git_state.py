"""The git commit in the metadata of a checkpoint."""

from __future__ import annotations

import subprocess
from pathlib import Path

from ultralytics_wb_ddp.artifacts.checkpoint_metadata import git_state


def test_git_state_is_that_of_the_directory(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True)

    assert git_state(tmp_path) == {}
    git("init", "-q", "-b", "work")
    (tmp_path / "file").write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    clean = git_state(tmp_path)
    (tmp_path / "file").write_text("2")

    assert (clean["branch"], clean["dirty"], len(clean["commit"])) == ("work", False, 40)
    assert git_state(tmp_path)["dirty"]
