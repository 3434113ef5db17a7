"""What a dataset consists of (its files, their sizes, its labels), and what has changed in it since an earlier look.

An image is named by its path below ``images``, as the data YAML or a list writes it: never by where the dataset lies.
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
COLUMNS = "split\timage\tbytes\tlabel"  # another header than that of files whose names say where the dataset lay
CLASSES = "classes"  # in the place of a split: the line about the names of the classes
MISSING_VALUE = "-"  # no label, or a file that is listed and missing
EXAMPLES = 3  # files that a message names
BLOCK, BLOCKS = 4096, 8  # what is read of a label that is a picture: bytes at a place, and places


class ScanCancelled(Exception):  # noqa: N818  # not a fault
    """Nobody waits for the fingerprint any more."""


@dataclass(frozen=True)
class Dataset:
    """Where the parts of a dataset lie.

    Attributes:
        root: The directory of the dataset, for people.
        splits: Directories, image files and text files that list images, by the name of the split.
        classes: Names of the classes, in their order.
        label_dir: Directory of the labels, beside ``images``; empty where the directory of an image is its label.
        label_suffixes: Suffixes of the labels, of which the first is taken that there is.
        formats: Suffixes of images, without the dot.
        prefixes: What the names of the images of each directory begin with, by the name of the split.
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
        """Return the dataset that a trainer has checked.

        Args:
            data: ``trainer.data``, with absolute paths.
            task: Task of the training, such as ``"detect"``.
        """
        from ultralytics.data.utils import IMG_FORMATS

        splits = {split: _paths(data[split]) for split in SPLITS if data.get(split)}
        names = data.get("names") or {}
        classes = tuple(map(str, names.values() if isinstance(names, dict) else names))
        root = Path(data.get("path") or splits["train"][0].parent)
        label_dir, suffixes = _labels_of(data, task, root)
        written = _read_yaml(data.get("yaml_file"))
        prefixes = {split: _prefixes(written.get(split), paths) for split, paths in splits.items()}
        return cls(root, splits, classes, label_dir, suffixes, tuple(sorted(IMG_FORMATS)), prefixes)

    def label_of(self, image: str) -> str:
        """Return where the label of an image lies, by the rule that Ultralytics has."""
        images, labels = f"{os.sep}images{os.sep}", f"{os.sep}{self.label_dir}{os.sep}"
        stem = labels.join(image.rsplit(images, 1)).rsplit(".", 1)[0]
        *earlier, last = self.label_suffixes
        return stem + next((suffix for suffix in earlier if os.path.isfile(stem + suffix)), last)  # noqa: PTH113  # as below

    def images(self) -> Iterator[tuple[str, str, str]]:
        """Return split, name and path of each image: names that are the same wherever the dataset lies."""
        for split, sources in self.splits.items():
            prefixes = self.prefixes.get(split) or [""] * len(sources)
            for source, prefix in zip(sources, prefixes):
                for name, path in _relative_name(source, self.formats):
                    yield split, f"{prefix}{name}", path


@dataclass(frozen=True)
class Fingerprint:
    """A dataset as it was found: a line for each image with its split, name, size in bytes and hash of its label.

    A million images take about 110 MB while they are looked at.

    Attributes:
        lines: The lines, sorted.
    """

    lines: tuple[str, ...]

    @classmethod
    def compute(cls, dataset: Dataset, is_wanted: Callable[[], bool] | None = None) -> Fingerprint:
        """Look at a dataset. Images are not opened; labels are read, of pictures a part.

        Args:
            dataset: Where its parts lie.
            is_wanted: Whether somebody waits for the result still.

        Raises:
            Stopped: Nobody does.
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
        """What is the same for datasets of the same content, wherever they lie."""
        return sha256("\n".join(self.lines).encode()).hexdigest()

    def for_split(self, split: str) -> Fingerprint:
        """Return the part that is about one split."""
        return Fingerprint(tuple(line for line in self.lines if line.startswith(f"{split}\t")))

    def size(self) -> int:
        """Return the size of all images in bytes."""
        return sum(int(size) for _, _, size, _ in map(_parts, self._images()) if size != MISSING_VALUE)

    def counts(self) -> tuple[int, int]:
        """Return the number of images, and of those that have a label."""
        images = self._images()
        return len(images), sum(not line.endswith(f"\t{MISSING_VALUE}") for line in images)

    def _images(self) -> list[str]:
        return [line for line in self.lines if not line.startswith(f"{CLASSES}\t")]

    def save(self, file: Path) -> None:
        """Write it as a table with tabs between the columns.

        Raises:
            OSError: The file cannot be written.
        """
        unfinished = file.with_name(f"{file.name}.{os.getpid()}")
        unfinished.write_text("\n".join((COLUMNS, *self.lines)) + "\n", encoding="utf-8")
        unfinished.replace(file)

    @classmethod
    def load(cls, file: Path) -> Fingerprint | None:
        """Return what :meth:`save` has written; None where there is nothing, or it is damaged or of an old form."""
        try:
            first, *lines = file.read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, ValueError):
            return None
        return cls(tuple(lines)) if first == COLUMNS and all(line.count("\t") == 3 for line in lines) else None  # noqa: PLR2004  # four columns


def describe_changes(earlier: Fingerprint, now: Fingerprint) -> str:
    """Return in words what is different in a dataset; empty if nothing is."""
    before, after = set(earlier.lines), set(now.lines)
    gone, new = _by_image(before - after), _by_image(after - before)
    kinds: dict[str, list[str]] = {}
    for image in sorted(gone.keys() | new.keys()):
        split, path = image
        if split == CLASSES:
            kinds.setdefault("names of the classes changed", [])
            continue
        if image not in gone or image not in new:
            changes = ["added"] if image in new else ["removed"]
        else:
            changes = [word for word, old, late in zip(("resized", "label"), gone[image], new[image]) if old != late]
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
    """Return the directory of a task's labels and their suffixes, as Ultralytics finds them."""
    if task == "classify":
        return "", ()
    if task == "depth":
        return "depth", (".png", ".npy")
    masks = data.get("masks_dir") or ("masks" if (root / "masks").exists() else None)
    return (str(masks), (".png",)) if task == "semantic" and masks else ("labels", (".txt",))


def _read_yaml(file: Any) -> dict[str, Any]:
    """Return what a data YAML says; nothing where there is none."""
    import yaml

    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8", errors="replace")) if file else None
    except (OSError, yaml.YAMLError):  # Ultralytics reads more than YAML allows
        return {}
    return content if isinstance(content, dict) else {}


def _prefixes(written: Any, paths: tuple[Path, ...]) -> list[str]:
    """Return what the names of the images of each source of a split begin with: its path from ``images`` on.

    The path is taken as it is written, not with its links followed. The number of a source stands before names that
    may be those of another one.
    """
    values = _paths(written) if written else ()
    found: list[str] = []
    prefixes = []
    for number, path in enumerate(values if len(values) == len(paths) else [Path()] * len(paths), 1):
        from_images = path.parts[::-1].index("images") + 1 if "images" in path.parts and path.suffix != ".txt" else 0
        prefix = "".join(f"{part}/" for part in path.parts[len(path.parts) - from_images :])
        is_like = any(prefix.startswith(other) or other.startswith(prefix) for other in found)
        found.append(prefix)
        prefixes.append(f"{number}:{prefix}" if is_like else prefix)
    return prefixes


def _relative_name(source: Path, formats: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Return name and path of each image of a source."""
    paths = find_images(source, formats)
    if source.is_dir():
        start = len(os.path.join(source, ""))  # noqa: PTH118  # with its separator
        return ((path[start:], path) for path in paths)
    listed = list(paths)
    return zip(_names_in_list(listed), listed)


def _names_in_list(paths: list[str]) -> list[str]:
    """Return the paths of a list from ``images`` on; where that does not tell them apart, below all that they share."""
    images = f"{os.sep}images{os.sep}"
    names = [f"images/{path.rpartition(images)[2]}" for path in paths]
    if not paths or (len(set(names)) == len(set(paths)) and all(images in path for path in paths)):
        return names
    whole = [path if os.path.isabs(path) else os.path.abspath(path) for path in paths]  # noqa: PTH100, PTH117  # as above
    shared = os.path.commonpath([os.path.dirname(path) for path in (min(whole), max(whole))])  # noqa: PTH120
    start = len(os.path.join(shared, ""))  # noqa: PTH118
    return [path[start:] for path in whole]


def find_images(source: Path, formats: tuple[str, ...]) -> Iterator[str]:
    """Return the images that a directory holds or a text file lists, as Ultralytics finds them."""
    paths = _files_below(str(source)) if source.is_dir() else _read_image_list(source)
    return (path for path in paths if path.rpartition(".")[2].lower() in formats)


def _files_below(directory: str) -> Iterator[str]:
    """Return the files below a directory, without hidden ones; links are followed unless they lead in a circle."""
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
    """Return the hash of a label, ``"-"`` where there is none; of a picture, that of its size and parts of it."""
    if not dataset.label_dir:
        return MISSING_VALUE
    label = dataset.label_of(image)
    try:
        with open(label, "rb", buffering=0) as file:  # noqa: PTH123  # as above
            return _hash(file.read() if label.endswith(".txt") else _sample(file))
    except OSError:
        return MISSING_VALUE


def _sample(file: FileIO) -> bytes:
    """Return size and parts of a file, the last one among them: a PNG ends with a checksum of its picture."""
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
