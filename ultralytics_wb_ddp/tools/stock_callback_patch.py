"""Patch and restore the stock W&B callback in the installed Ultralytics.

The patched callback continues a run in processes that do not load the callback of this package. ``patches/`` holds a
diff for each era of Ultralytics' ``utils/callbacks/wb.py``. Above each diff are the SHA-256 digests of the contents
that it fits. The content of the file alone determines its state. No backup is stored, because the reversed diff
restores every byte.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import os
import re
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.versions import version_of

TARGET = "ultralytics/utils/callbacks/wb.py"
PATCH_MARKER = b"ultralytics_wb_ddp"  # part of the lines that every diff inserts
HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


class PatchError(UserError):
    """Error for a file that cannot be patched or restored; the file is unchanged."""


@dataclass(frozen=True)
class Diff:
    """A unified diff of one file.

    Attributes:
        name: File name of the diff.
        releases: Releases of Ultralytics by the SHA-256 of the original content.
        hunks: Pairs of old and new lines, in the order of the file.
    """

    name: str
    releases: dict[str, str]
    hunks: tuple[tuple[list[bytes], list[bytes]], ...]

    @classmethod
    def read(cls, file: Path) -> Diff:
        """Read a diff. Raise :class:`ValueError` for any other file."""
        head, header, body = file.read_bytes().partition(f"--- a/{TARGET}\n+++ b/{TARGET}\n".encode())
        releases = dict(re.findall(r"^sha256 ([0-9a-f]{64}) (.+)$", head.decode(), re.MULTILINE))
        hunks: list[tuple[list[bytes], list[bytes]]] = []
        lines = iter(body.splitlines(keepends=True))
        for line in lines:
            counts = HUNK.match(line)
            if not counts:
                break
            line_counts = [int(count or 1) for count in counts.groups()]
            old: list[bytes] = []
            new: list[bytes] = []
            while len(old) < line_counts[0] or len(new) < line_counts[1]:
                kind, text = (line := next(lines, b""))[:1], line[1:]
                if kind not in {b" ", b"-", b"+"}:
                    break
                if kind != b"+":
                    old.append(text)
                if kind != b"-":
                    new.append(text)
            if [len(old), len(new)] != line_counts:
                break
            hunks.append((old, new))
        else:
            if header and releases and hunks:
                return cls(file.name, releases, tuple(hunks))
        msg = f"{file} is damaged; install ultralytics_wb_ddp again"
        raise ValueError(msg)

    def apply(self, content: bytes) -> bytes:
        """Apply the diff. Raise :class:`ValueError` if a hunk's old lines do not occur exactly once."""
        return _replace(content, self.hunks)

    def revert(self, content: bytes) -> bytes:
        """Remove the diff. Raise :class:`ValueError` if a hunk's new lines do not occur exactly once."""
        return _replace(content, tuple((new, old) for old, new in self.hunks))


@dataclass(frozen=True)
class Status:
    """State of the stock callback in the installed Ultralytics.

    Attributes:
        release: Version of Ultralytics, from the package.
        state: ``"original"``, ``"patched"``, ``"partly patched"``, ``"changed"`` or ``"unknown"``. The last means an
            unchanged file of a release without a diff.
        diff: The diff that can be applied or is applied.
        original: The content without the diff; empty if there is no diff.
    """

    release: str
    file: Path
    state: str
    diff: Diff | None = None
    original: bytes = b""

    @property
    def era(self) -> str | None:
        """The releases that have the same original content."""
        return self.diff.releases[_digest(self.original)] if self.diff else None

    @property
    def problem(self) -> str | None:
        """The reason against patching and restoring, with a remedy; None without one."""
        again = f"'pip install --force-reinstall --no-deps ultralytics=={self.release}' puts the original file back"
        return {
            "partly patched": f"{self.file} holds a part of a patch, or that of another release of ultralytics_wb_ddp, "
            f"and is left as it is; {again}",
            "changed": f"{self.file} has changes of another origin and is left as it is; {again}",
            "unknown": f"no patch is known for the file of Ultralytics {self.release}, {self.file}, which is left as "
            f"it is; install a newer ultralytics_wb_ddp, or Ultralytics {known_releases()}",
        }.get(self.state)

    def check(self) -> None:
        """Raise :class:`PatchError` if the file can be neither patched nor restored."""
        if self.problem:
            raise PatchError(self.problem)


def read_diffs() -> list[Diff]:
    """Return the diffs in this package, in the order of their releases."""
    package = Path(__file__).parent.parent
    folder = next(folder for folder in (package / "patches", package.parent / "patches") if folder.is_dir())
    return sorted((Diff.read(file) for file in folder.glob("*.diff")), key=lambda diff: version_of(diff.name))


def known_releases() -> str:
    """Return the range of releases with a diff, as ``"8.x to 8.y"``."""
    spans = [span for diff in read_diffs() for span in diff.releases.values()]
    return f"{spans[0].split(' to ')[0]} to {spans[-1].split(' to ')[-1]}"


def patch_status() -> Status:
    """Return the state of the stock callback, without an import of Ultralytics.

    Raises:
        PatchError: Ultralytics is not installed, or has no W&B callback.
    """
    spec = find_spec("ultralytics")
    if spec is None or not spec.origin:
        msg = "Ultralytics is not installed for this Python; run the command of the environment that trains"
        raise PatchError(msg)
    package = Path(spec.origin).parent
    file = package.parent / TARGET
    try:
        content = file.read_bytes()
        init = (package / "__init__.py").read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{error.filename} cannot be read ({error.strerror}): it is part of every Ultralytics; install it again"
        raise PatchError(msg) from error
    match = re.search(r'^__version__ = "(.+?)"', init, re.MULTILINE)
    release = match[1] if match else "of an unknown version"
    for diff in read_diffs():
        if _digest(content) in diff.releases:
            return Status(release, file, "original", diff, content)
        with contextlib.suppress(ValueError):
            original = diff.revert(content)
            if _digest(original) in diff.releases:
                return Status(release, file, "patched", diff, original)
    if PATCH_MARKER in content:
        return Status(release, file, "partly patched")
    return Status(release, file, "unknown" if _is_pristine(package, release, content) else "changed")


def apply(status: Status) -> bool:
    """Patch the file. Return whether it was changed; False if it was patched already.

    Raises:
        PatchError: The file cannot be patched; it is unchanged.
    """
    status.check()
    if status.state == "patched" or status.diff is None:
        return False
    patched = status.diff.apply(status.original)
    if status.diff.revert(patched) != status.original:
        msg = f"{status.diff.name} cannot be taken out of {status.file} again, which is left as it is"
        raise PatchError(msg)
    _write(status.file, patched)
    return True


def revert(status: Status) -> bool:
    """Restore the original file, byte for byte. Return whether it was changed.

    Raises:
        PatchError: The file cannot be restored; it is unchanged.
    """
    status.check()
    if status.state == "original":
        return False
    _write(status.file, status.original)
    return True


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _replace(content: bytes, hunks: tuple[tuple[list[bytes], list[bytes]], ...]) -> bytes:
    """Replace the old lines of each hunk, which must occur exactly once after the previous hunk."""
    lines = content.splitlines(keepends=True)
    result: list[bytes] = []
    for old, new in hunks:
        positions = [
            position for position in range(len(lines) - len(old) + 1) if lines[position : position + len(old)] == old
        ]
        if len(positions) != 1:
            msg = f"{len(positions)} places for {old[0].decode(errors='replace').strip()!r}"
            raise ValueError(msg)
        result += lines[: positions[0]] + new
        lines = lines[positions[0] + len(old) :]
    return b"".join(result + lines)


def _is_pristine(package: Path, release: str, content: bytes) -> bool:
    """Return whether a file is unchanged since its release.

    The digest in pip's RECORD decides. Without a RECORD, a release outside of the known range counts as unchanged.
    """
    digest = base64.urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
    record = package.parent / f"ultralytics-{release}.dist-info" / "RECORD"
    with contextlib.suppress(OSError), record.open(encoding="utf-8", newline="") as rows:
        return any(row[:2] == [TARGET, f"sha256={digest}"] for row in csv.reader(rows))
    first, last = (version_of(number) for number in known_releases().split(" to "))
    return not first <= version_of(release) <= last


def _write(file: Path, content: bytes) -> None:
    """Replace a file atomically, and keep its owner and permissions. If this fails, the file is unchanged."""
    draft = None
    try:
        original_stat = file.stat()
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".wb-", suffix=".tmp", delete=False) as stream:
            draft = Path(stream.name)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(original_stat.st_mode & 0o7777)
        with contextlib.suppress(OSError):  # only root may set another owner
            os.chown(draft, original_stat.st_uid, original_stat.st_gid)
        if draft.read_bytes() != content:
            msg = f"{file} cannot be written: the disk does not hold what is written to it; the file is as it was"
            raise PatchError(msg)
        draft.replace(file)
    except OSError as error:
        msg = (
            f"{file} cannot be written ({error.strerror}) and is as it was; run the command as the user who owns it, "
            "or in the file of the image where Ultralytics is installed"
        )
        raise PatchError(msg) from error
    finally:
        if draft:
            draft.unlink(missing_ok=True)
