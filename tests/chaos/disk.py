"""A small disk for W&B in a mount namespace, which a job and the commands after it enter; no privileges are needed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from typing_extensions import Self

SIZE = "4m"
FOLDER = "small"


class SmallDisk:
    """A disk of some megabytes, below the directory of a job, while the ``with`` statement lasts.

    Args:
        directory: Directory of the job.
        read_only: Whether nothing can be written to it.

    Attributes:
        folder: Where it is mounted, for processes in the namespace.
        prefix: Words before a command that make its process see the disk.
        outside: Where it is for this process.
    """

    def __init__(self, directory: Path, *, read_only: bool) -> None:
        self._directory = directory
        self._read_only = read_only
        self.folder = directory / FOLDER
        self._options = f"size={SIZE}{',ro' if read_only else ''}"

    def __enter__(self) -> Self:
        self.folder.mkdir()
        mount = f'mount -t tmpfs -o {self._options} tmpfs "$0" && echo mounted && exec sleep infinity'
        command = ["unshare", "-rm", "sh", "-c", mount, str(self.folder)]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout
        if self._holder.stdout.readline() != "mounted\n":
            message = "no mount namespaces here: run the campaign without the class of faults 'disk'"
            raise RuntimeError(message)
        pid = str(self._holder.pid)
        self.prefix = ["nsenter", "-t", pid, "-U", "-m", "--preserve-credentials", f"--wdns={self._directory}"]
        self.outside = Path(f"/proc/{pid}/root{self.folder}")
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.wait()

    def fill(self) -> str:
        """Fill the disk and return how that ended."""
        try:
            with (self.outside / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError as error:
            return f"the disk is full: {error}"

    def empty(self) -> None:
        """Make room again."""
        if not self._read_only:
            (self.outside / "filler").unlink(missing_ok=True)
