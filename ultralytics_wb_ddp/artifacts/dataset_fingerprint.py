"""Record a dataset's files and labels, and describe changes between two records.

An image is named by its path below ``images``, as the data YAML or a list of images writes it. The name does not depend
on the directory of the dataset.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from io import FileIO


SPLITS = ("train", "val", "test")
# Older files have another header: their names depend on the dataset's directory.
COLUMNS = "split\timage\tbytes\tlabel"
CLASSES = "classes"  # in the column of the split: marks the line about the names of the classes
MISSING_VALUE = "-"  # no label, or a file that is listed and missing
EXAMPLES = 3  # files that a message names
BLOCK, BLOCKS = 4096, 8  # sample of a label that is an image: bytes of a block, and number of blocks


class ScanCancelled(Exception):  # noqa: N818  # not a fault
    """The fingerprint is not needed any more."""


@dataclass(frozen=True)
class Dataset:
    """The paths of a dataset's images and labels.

    Attributes:
        root: The directory of the dataset, for display only.
        splits: Directories, image files and text files that list images, by the name of the split.
        label_dir: Directory of the labels, beside ``images``; empty where the directory of an image is its label.
        label_suffixes: Suffixes of the labels; the first with an existing file counts.
        formats: Suffixes of images, without the dot.
        prefixes: Prefix of the image names for each source of a split, by the name of the split.
    """

    root: Path
    splits: Mapping[str, tuple[Path, ...]]
    classes: tuple[str, ...] = ()
    label_dir: str = "labels"
    label_suffixes: tuple[str, ...] = (".txt",)
    formats: tuple[str, ...] = ("jpg", "jpeg", "png")
    prefixes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of_training(cls, data: Mapping[str, Any], task: str) -> Dataset:
        """Return the dataset of a trainer, by ``trainer.data``, whose paths Ultralytics has made absolute."""
        from ultralytics.data.utils import IMG_FORMATS

        splits = {split: _paths(data[split]) for split in SPLITS if data.get(split)}
        names = data.get("names") or {}
        classes = tuple(map(str, names.values() if isinstance(names, dict) else names))
        root = Path(data.get("path") or splits["train"][0].parent)
        label_dir, suffixes = _labels_of(data, task, root)
        data_yaml = _read_yaml(data.get("yaml_file"))
        prefixes = {split: _prefixes(data_yaml.get(split), paths) for split, paths in splits.items()}
        return cls(root, splits, classes, label_dir, suffixes, tuple(sorted(IMG_FORMATS)), prefixes)

    def label_of(self, image: str) -> str:
        """Return the path of an image's label, by Ultralytics' rule."""
        images, labels = f"{os.sep}images{os.sep}", f"{os.sep}{self.label_dir}{os.sep}"
        stem = labels.join(image.rsplit(images, 1)).rsplit(".", 1)[0]
        *preferred, last = self.label_suffixes
        return stem + next((suffix for suffix in preferred if os.path.isfile(stem + suffix)), last)  # noqa: PTH113  # as below

    def images(self) -> Iterator[tuple[str, str, str]]:
        """Yield split, name and path of each image.

        A name does not depend on the directory of the dataset.
        """
        for split, sources in self.splits.items():
            prefixes = self.prefixes.get(split) or [""] * len(sources)
            for source, prefix in zip(sources, prefixes):
                for name, path in _relative_name(source, self.formats):
                    yield split, f"{prefix}{name}", path


@dataclass(frozen=True)
class Fingerprint:
    """A record of a dataset's content, with one line for each image.

    A line holds split, name, size in bytes and hash of the label. A million images take about 110 MB of memory.
    """

    lines: tuple[str, ...]

    @classmethod
    def compute(cls, dataset: Dataset, is_wanted: Callable[[], bool] | None = None) -> Fingerprint:
        """Return the fingerprint of a dataset.

        Images are not opened. Labels are read: text files whole, images in part.

        ``is_wanted`` is called before each image, and says whether the result is still needed.

        Raises:
            ScanCancelled: The result is not needed any more.
        """
        names = "\n".join(dataset.classes)
        lines = [f"{CLASSES}\tnames\t{len(dataset.classes)}\t{_hash(names.encode(errors='replace'))}"]
        for split, name, path in dataset.images():
            if is_wanted and not is_wanted():
                raise ScanCancelled
            shown = name.replace(os.sep, "/")
            if not shown.isprintable():  # a tab or a line break would split the line
                shown = ascii(shown)[1:-1]
            lines.append(f"{split}\t{shown}\t{_size(path)}\t{_label_digest(dataset, path)}")
        return cls(tuple(sorted(lines)))

    @property
    def digest(self) -> str:
        """SHA-256 of the content, the same in every directory."""
        return sha256("\n".join(self.lines).encode()).hexdigest()

    def for_split(self, split: str) -> Fingerprint:
        """Return the fingerprint of one split."""
        return Fingerprint(tuple(line for line in self.lines if line.startswith(f"{split}\t")))

    def size(self) -> int:
        """Return the size of all images in bytes."""
        return sum(int(size) for _, _, size, _ in map(_parts, self._images()) if size != MISSING_VALUE)

    def counts(self) -> tuple[int, int]:
        """Return the number of images and the number of labelled images."""
        images = self._images()
        return len(images), sum(not line.endswith(f"\t{MISSING_VALUE}") for line in images)

    def _images(self) -> list[str]:
        return [line for line in self.lines if not line.startswith(f"{CLASSES}\t")]

    def save(self, file: Path) -> None:
        """Write the fingerprint as a table with tabs between the columns."""
        unfinished = file.with_name(f"{file.name}.{os.getpid()}")
        unfinished.write_text("\n".join((COLUMNS, *self.lines)) + "\n", encoding="utf-8")
        unfinished.replace(file)

    @classmethod
    def load(cls, file: Path) -> Fingerprint | None:
        """Read a fingerprint that :meth:`save` wrote; None if it is missing, damaged or of an older format."""
        try:
            first, *lines = file.read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, ValueError):
            return None
        return cls(tuple(lines)) if first == COLUMNS and all(line.count("\t") == 3 for line in lines) else None  # noqa: PLR2004  # four columns


def describe_changes(previous: Fingerprint, now: Fingerprint) -> str:
    """Describe the differences between two fingerprints; empty without differences."""
    before, after = set(previous.lines), set(now.lines)
    removed, added = _by_image(before - after), _by_image(after - before)
    kinds: dict[str, list[str]] = {}
    for image in sorted(removed.keys() | added.keys()):
        split, path = image
        if split == CLASSES:
            kinds.setdefault("names of the classes changed", [])
            continue
        if image not in removed or image not in added:
            changes = ["added"] if image in added else ["removed"]
        else:
            changes = [name for name, old, new in zip(("resized", "label"), removed[image], added[image]) if old != new]
        for change in changes:
            kinds.setdefault(f"{split} {change}", []).append(path)
    return "; ".join(_describe(kind, paths) for kind, paths in sorted(kinds.items()))


def _describe(kind: str, paths: list[str]) -> str:
    """Return a sentence such as ``train: 2 images added (a.jpg, b.jpg)``."""
    if not paths:
        return kind
    split, change = kind.split(" ")
    noun = "label" if change == "label" else "image"
    verb = {"label": "changed", "resized": "of another size"}.get(change, change)
    shown = ", ".join(paths[:EXAMPLES]) + (", ..." if len(paths) > EXAMPLES else "")
    return f"{split}: {len(paths)} {noun}{'s' if len(paths) > 1 else ''} {verb} ({shown})"


def _by_image(lines: Iterable[str]) -> dict[tuple[str, str], tuple[str, str]]:
    return {(split, path): (size, label) for split, path, size, label in map(_parts, lines)}


def _parts(line: str) -> tuple[str, str, str, str]:
    split, path, size, label = line.split("\t")
    return split, path, size, label


def _paths(value: Any) -> tuple[Path, ...]:
    return tuple(map(Path, value)) if isinstance(value, (list, tuple)) else (Path(value),)


def _labels_of(data: Mapping[str, Any], task: str, root: Path) -> tuple[str, tuple[str, ...]]:
    """Return a task's label directory and label suffixes, by Ultralytics' rules."""
    if task == "classify":
        return "", ()
    if task == "depth":
        return "depth", (".png", ".npy")
    masks = data.get("masks_dir") or ("masks" if (root / "masks").exists() else None)
    return (str(masks), (".png",)) if task == "semantic" and masks else ("labels", (".txt",))


def _read_yaml(file: Any) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8", errors="replace")) if file else None
    except (OSError, yaml.YAMLError):  # Ultralytics reads more than YAML allows
        return {}
    return content if isinstance(content, dict) else {}


def _prefixes(written: Any, paths: tuple[Path, ...]) -> list[str]:
    """Return the prefix of each source's image names.

    The prefix is the source's path from ``images`` on. Links in the path are not followed. The source's number comes
    first if another source could have the same names.
    """
    values = _paths(written) if written else ()
    seen: list[str] = []
    prefixes = []
    for number, path in enumerate(values if len(values) == len(paths) else [Path()] * len(paths), 1):
        from_images = path.parts[::-1].index("images") + 1 if "images" in path.parts and path.suffix != ".txt" else 0
        prefix = "".join(f"{part}/" for part in path.parts[len(path.parts) - from_images :])
        is_ambiguous = any(prefix.startswith(other) or other.startswith(prefix) for other in seen)
        seen.append(prefix)
        prefixes.append(f"{number}:{prefix}" if is_ambiguous else prefix)
    return prefixes


def _relative_name(source: Path, formats: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    paths = find_images(source, formats)
    if source.is_dir():
        start = len(os.path.join(source, ""))  # noqa: PTH118  # with its separator
        return ((path[start:], path) for path in paths)
    image_paths = list(paths)
    return zip(_names_in_list(image_paths), image_paths)


def _names_in_list(paths: list[str]) -> list[str]:
    """Return the paths of a list from ``images`` on.

    If these are ambiguous, return the paths relative to their common directory.
    """
    images = f"{os.sep}images{os.sep}"
    names = [f"images/{path.rpartition(images)[2]}" for path in paths]
    if not paths or (len(set(names)) == len(set(paths)) and all(images in path for path in paths)):
        return names
    whole = [path if os.path.isabs(path) else os.path.abspath(path) for path in paths]  # noqa: PTH100, PTH117  # as above
    shared = os.path.commonpath([os.path.dirname(path) for path in (min(whole), max(whole))])  # noqa: PTH120
    start = len(os.path.join(shared, ""))  # noqa: PTH118
    return [path[start:] for path in whole]


def find_images(source: Path, formats: tuple[str, ...]) -> Iterator[str]:
    """Return the images of a directory, an image or a text file that lists images, by Ultralytics' rules.

    The formats are suffixes without the dot.
    """
    paths = _files_below(str(source)) if source.is_dir() else _read_image_list(source)
    return (path for path in paths if path.rpartition(".")[2].lower() in formats)


def _files_below(directory: str) -> Iterator[str]:
    """Yield the visible files below a directory; follow links without circles."""
    for folder, folders, names in os.walk(directory, followlinks=True):
        real = os.path.realpath(folder)
        paths = {name: os.path.join(folder, name) for name in folders if not name.startswith(".")}  # noqa: PTH118
        folders[:] = [name for name, path in paths.items() if not (os.path.islink(path) and _contains(path, real))]  # noqa: PTH114
        yield from (f"{folder}{os.sep}{name}" for name in names if not name.startswith("."))


def _contains(directory: str, real: str) -> bool:
    return f"{real}{os.sep}".startswith(f"{os.path.realpath(directory)}{os.sep}")


def _read_image_list(file: Path) -> list[str]:
    if file.suffix != ".txt":
        return [str(file)] if file.exists() else []
    try:
        lines = file.read_text(encoding="utf-8-sig").strip().splitlines()
    except (OSError, ValueError):
        return []
    beside = f"{file.parent}{os.sep}"
    return [line.replace("./", beside, 1) if line.startswith("./") else line for line in lines]


def _size(path: str) -> int | str:
    try:
        return os.stat(path).st_size  # noqa: PTH116  # a Path for each of a million images takes longer than this
    except OSError:
        return MISSING_VALUE


def _label_digest(dataset: Dataset, image: str) -> str:
    if not dataset.label_dir:
        return MISSING_VALUE
    label = dataset.label_of(image)
    try:
        with open(label, "rb", buffering=0) as file:  # noqa: PTH123  # as above
            return _hash(file.read() if label.endswith(".txt") else _sample(file))
    except OSError:
        return MISSING_VALUE


def _sample(file: FileIO) -> bytes:
    """Return a file's size and blocks, with the checksum that ends a PNG."""
    size = os.fstat(file.fileno()).st_size
    if size <= BLOCK * BLOCKS:
        return file.read()
    parts = [b"%d" % size]
    for number in range(BLOCKS):
        file.seek((size - BLOCK) * number // (BLOCKS - 1))
        parts.append(file.read(BLOCK))
    return b"".join(parts)


def _hash(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()
