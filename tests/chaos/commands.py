"""The commands that messages name for what has not got to W&B, and their execution."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from chaos.evidence import Command

OURS = re.compile(r"(ultralytics-wb-ddp sync [^;\n]*)")
THEIRS = re.compile(r"(wandb sync /\S+)$", re.MULTILINE)
GIVES_UP = re.compile(r"saved locally in (?P<folder>\S+)|(?P<advice>Use `wandb sync`)")  # W&B's, of an online run
COLOUR = re.compile(r"\x1b\[[\d;]*m")
TIMEOUT = 120.0  # seconds


def named_in(output: str) -> list[list[str]]:
    """Return the commands that an output names, in their order, each once.

    W&B names ``wandb sync`` also for parts that our messages name: ours then sends them. Of an online run W&B names the
    folder when it opens the run, and the command when it gives up.
    """
    plain = COLOUR.sub("", output)
    ours = [shlex.split(found) for found in OURS.findall(plain)]
    folders = {Path(folder).name for words in ours for folder in words[2:]}
    theirs = [["wandb", "sync", folder] for folder in _folders_given_up(plain)]
    theirs += [shlex.split(found) for found in THEIRS.findall(plain)]
    commands = [*ours, *(["ultralytics-wb-ddp", *words[1:]] for words in theirs if Path(words[2]).name not in folders)]
    return [list(words) for words in dict.fromkeys(map(tuple, commands))]


def _folders_given_up(output: str) -> list[str]:
    folders, latest = [], ""
    for found in GIVES_UP.finditer(output):
        latest = found["folder"] or latest
        if found["advice"] and latest:
            folders.append(latest)
    return folders


def unsent(directory: Path, *, online: bool) -> list[str]:
    """Return the sessions below a directory that were not sent, the oldest first, by their paths in it.

    Args:
        directory: The directory.
        online: Whether to return online sessions, too: those of a run that has no end at the server.
    """
    kinds = ("offline-run-*", "run-*") if online else ("offline-run-*",)
    files = {file for kind in kinds for file in directory.rglob(f"wandb/{kind}/run-*.wandb")}
    folders = [file.parent for file in files if not file.with_name(f"{file.name}.synced").exists()]
    return [
        str(folder.relative_to(directory)) for folder in sorted(folders, key=lambda each: each.name.split("run-")[1])
    ]


def run(words: list[str], directory: Path, environment: dict[str, str], prefix: list[str]) -> Command:
    """Run a command as a user would, after words that put it where the job was."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    try:
        done = subprocess.run(
            [*prefix, *words],
            cwd=directory,
            env={**environment, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Command(words, -1, f"no end within {TIMEOUT:g} s")
    return Command(words, done.returncode, done.stdout)
