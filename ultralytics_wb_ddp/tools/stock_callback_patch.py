"""The stock W&B callback on disk: patched, so that it continues a run where no callback of ours gets to, and put back.

``patches/`` holds a diff for each era of Ultralytics' ``utils/callbacks/wb.py`` and, above it, the SHA-256 of the
contents that it is for. What to do is told from the content of the file alone, and nothing is kept beside it: the diff
in reverse gives back every byte.
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
PATCH_MARKER = b"ultralytics_wb_ddp"  # stands in what every diff inserts
HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


class PatchError(UserError):
    """Why the file is left as it is, and what can be done."""


@dataclass(frozen=True)
class Diff:
    """A unified diff of one file.

    Attributes:
        name: Name of its file.
        releases: Releases by the SHA-256 of the content that it is for.
        hunks: Lines to be replaced and what replaces them, in their order.
    """

    name: str
    releases: dict[str, str]
    hunks: tuple[tuple[list[bytes], list[bytes]], ...]

    @classmethod
    def read(cls, file: Path) -> Diff:
        """Return the diff in a file.

        Raises:
            ValueError: It is no unified diff of the stock callback.
        """
        head, found, body = file.read_bytes().partition(f"--- a/{TARGET}\n+++ b/{TARGET}\n".encode())
        releases = dict(re.findall(r"^sha256 ([0-9a-f]{64}) (.+)$", head.decode(), re.MULTILINE))
        hunks: list[tuple[list[bytes], list[bytes]]] = []
        lines = iter(body.splitlines(keepends=True))
        for line in lines:
            counts = HUNK.match(line)
            if not counts:
                break
            left = [int(count or 1) for count in counts.groups()]
            old: list[bytes] = []
            new: list[bytes] = []
            while len(old) < left[0] or len(new) < left[1]:
                kind, text = (line := next(lines, b""))[:1], line[1:]
                if kind not in {b" ", b"-", b"+"}:
                    break
                if kind != b"+":
                    old.append(text)
                if kind != b"-":
                    new.append(text)
            if [len(old), len(new)] != left:
                break
            hunks.append((old, new))
        else:
            if found and releases and hunks:
                return cls(file.name, releases, tuple(hunks))
        msg = f"{file} is damaged; install ultralytics_wb_ddp again"
        raise ValueError(msg)

    def apply(self, content: bytes) -> bytes:
        """Return a content with this diff.

        Raises:
            ValueError: A hunk does not fit exactly, or in several places.
        """
        return _replace(content, self.hunks)

    def revert(self, content: bytes) -> bytes:
        """Return a content without this diff.

        Raises:
            ValueError: A hunk is not there exactly, or in several places.
        """
        return _replace(content, tuple((new, old) for old, new in self.hunks))


@dataclass(frozen=True)
class Status:
    """What there is of Ultralytics.

    Attributes:
        release: Its version, as the package itself says.
        file: Its stock W&B callback.
        state: ``"original"``, ``"patched"``, ``"partly patched"``, ``"changed"`` or ``"unknown"``, which is a file as
            it was released but of a release that no diff is for.
        diff: The diff that can be applied, or has been.
        original: The content without the diff, where there is one.
    """

    release: str
    file: Path
    state: str
    diff: Diff | None = None
    original: bytes = b""

    @property
    def era(self) -> str | None:
        """The releases whose file has the same content as the original one."""
        return self.diff.releases[_digest(self.original)] if self.diff else None

    @property
    def problem(self) -> str | None:
        """Why the file can neither be patched nor put back, with the remedy; None if it can."""
        again = f"'pip install --force-reinstall --no-deps ultralytics=={self.release}' puts the original file back"
        return {
            "partly patched": f"{self.file} holds a part of a patch, or that of another release of ultralytics_wb_ddp, "
            f"and is left as it is; {again}",
            "changed": f"{self.file} was changed by somebody else and is left as it is; {again}",
            "unknown": f"no patch is known for the file of Ultralytics {self.release}, {self.file}, which is left as "
            f"it is; install a newer ultralytics_wb_ddp, or Ultralytics {known_releases()}",
        }.get(self.state)


def read_diffs() -> list[Diff]:
    """Return the diffs that come with this package, by their first release."""
    here = Path(__file__).parent
    folder = next(folder for folder in (here / "patches", here.parent / "patches") if folder.is_dir())
    return sorted((Diff.read(file) for file in folder.glob("*.diff")), key=lambda diff: version_of(diff.name))


def known_releases() -> str:
    """Return the range of releases that there are diffs for."""
    spans = [span for diff in read_diffs() for span in diff.releases.values()]
    return f"{spans[0].split(' to ')[0]} to {spans[-1].split(' to ')[-1]}"


def patch_status() -> Status:
    """Find Ultralytics, without importing it, and say what there is.

    Raises:
        PatchError: It is not installed, or has no W&B callback.
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
    found = re.search(r'^__version__ = "(.+?)"', init, re.MULTILINE)
    release = found[1] if found else "of an unknown version"
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
    """Patch the file; returns whether that was still to be done.

    Raises:
        PatchError: It cannot be patched; it is as it was.
    """
    if status.problem:
        raise PatchError(status.problem)
    if status.state == "patched" or status.diff is None:
        return False
    patched = status.diff.apply(status.original)
    if status.diff.revert(patched) != status.original:
        msg = f"{status.diff.name} cannot be taken out of {status.file} again, which is left as it is"
        raise PatchError(msg)
    _write(status.file, patched)
    return True


def revert(status: Status) -> bool:
    """Put the original file back, byte for byte; returns whether that was still to be done.

    Raises:
        PatchError: It cannot be put back; it is as it was.
    """
    if status.problem:
        raise PatchError(status.problem)
    if status.state == "original":
        return False
    _write(status.file, status.original)
    return True


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _replace(content: bytes, hunks: tuple[tuple[list[bytes], list[bytes]], ...]) -> bytes:
    """Return a content with lines replaced, each of which must be there exactly once after those before it."""
    lines = content.splitlines(keepends=True)
    result: list[bytes] = []
    for old, new in hunks:
        places = [at for at in range(len(lines) - len(old) + 1) if lines[at : at + len(old)] == old]
        if len(places) != 1:
            msg = f"{len(places)} places for {old[0].decode(errors='replace').strip()!r}"
            raise ValueError(msg)
        result += lines[: places[0]] + new
        lines = lines[places[0] + len(old) :]
    return b"".join(result + lines)


def _is_pristine(package: Path, release: str, content: bytes) -> bool:
    """Return whether a file without a diff is that of a release: what pip has noted says so, or else its number."""
    digest = base64.urlsafe_b64encode(sha256(content).digest()).rstrip(b"=").decode()
    record = package.parent / f"ultralytics-{release}.dist-info" / "RECORD"
    with contextlib.suppress(OSError), record.open(encoding="utf-8", newline="") as rows:
        return any(row[:2] == [TARGET, f"sha256={digest}"] for row in csv.reader(rows))
    first, last = (version_of(number) for number in known_releases().split(" to "))
    return not first <= version_of(release) <= last


def _write(file: Path, content: bytes) -> None:
    """Replace a file in one moment, with its owner and permissions.

    Raises:
        PatchError: It cannot be written; it is as it was.
    """
    draft = None
    try:
        before = file.stat()
        with tempfile.NamedTemporaryFile(dir=file.parent, prefix=".wb-", suffix=".tmp", delete=False) as stream:
            draft = Path(stream.name)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.chmod(before.st_mode & 0o7777)
        with contextlib.suppress(OSError):  # another owner than one's own takes root
            os.chown(draft, before.st_uid, before.st_gid)
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
