"""What a dataset consists of (its files, their sizes, its labels), and what has changed in it since an earlier look."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b, sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["Dataset", "Fingerprint", "Stopped", "what_changed"]

SPLITS = ("train", "val", "test")
COLUMNS = "split\tpath\tbytes\tlabel"
CLASSES = "classes"  # in the place of a split: the line about the names of the classes
NONE = "-"  # no label, or a file that is listed and missing
EXAMPLES = 3  # files that a message names


class Stopped(Exception):  # noqa: N818  # not a fault
    """Nobody waits for the fingerprint any more."""


@dataclass(frozen=True)
class Dataset:
    """Where the parts of a dataset lie.

    Attributes:
        root: The directory that paths are relative to, so that a dataset keeps its fingerprint where it is moved to.
        splits: Directories, image files and text files that list images, by the name of the split.
        classes: Names of the classes, in their order.
        label_dir: Directory of the labels, beside ``images``; empty where the directory of an image is its label.
        label_suffix: Suffix of the labels. Text is read, anything else is known by its size only, as images are.
        formats: Suffixes of images, without the dot.
    """

    root: Path
    splits: Mapping[str, tuple[Path, ...]]
    classes: tuple[str, ...] = ()
    label_dir: str = "labels"
    label_suffix: str = ".txt"
    formats: tuple[str, ...] = ("jpg", "jpeg", "png")

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
        labels = {"classify": ("", ""), "semantic": (data.get("masks_dir") or "masks", ".png")}
        return cls(root, splits, classes, *labels.get(task, ("labels", ".txt")), formats=tuple(sorted(IMG_FORMATS)))

    def label_of(self, image: str) -> str:
        """Return where the label of an image lies, by the rule that Ultralytics has."""
        images, labels = f"{os.sep}images{os.sep}", f"{os.sep}{self.label_dir}{os.sep}"
        return labels.join(image.rsplit(images, 1)).rsplit(".", 1)[0] + self.label_suffix


@dataclass(frozen=True)
class Fingerprint:
    """A dataset as it was found: a line for each image with its split, path, size in bytes and hash of its label.

    A million images take about 110 MB while they are looked at.

    Attributes:
        lines: The lines, sorted.
    """

    lines: tuple[str, ...]

    @classmethod
    def take(cls, dataset: Dataset, is_wanted: Callable[[], bool] | None = None) -> Fingerprint:
        """Look at a dataset. Images are not opened; labels are read if they are text.

        Args:
            dataset: Where its parts lie.
            is_wanted: Whether somebody waits for the result still.

        Raises:
            Stopped: Nobody does.
        """
        names = "\n".join(dataset.classes)
        lines = [f"{CLASSES}\tnames\t{len(dataset.classes)}\t{_hash(names.encode(errors='replace'))}"]
        roots = [f"{root}{os.sep}" for root in dict.fromkeys((dataset.root, dataset.root.resolve()))]
        for split, sources in dataset.splits.items():
            for source in sources:
                for image in images_of(source, dataset.formats):
                    if is_wanted and not is_wanted():
                        raise Stopped
                    path = next((image[len(root) :] for root in roots if image.startswith(root)), image)
                    path = path.replace(os.sep, "/")
                    if not path.isprintable():  # a tab or a line break would split the line
                        path = ascii(path)[1:-1]
                    lines.append(f"{split}\t{path}\t{_size(image)}\t{_look_at_label(dataset, image)}")
        return cls(tuple(sorted(lines)))

    @property
    def digest(self) -> str:
        """What is the same for datasets of the same content, wherever they lie."""
        return sha256("\n".join(self.lines).encode()).hexdigest()

    def of_split(self, split: str) -> Fingerprint:
        """Return the part that is about one split."""
        return Fingerprint(tuple(line for line in self.lines if line.startswith(f"{split}\t")))

    def size(self) -> int:
        """Return the size of all images in bytes."""
        return sum(int(size) for _, _, size, _ in map(_parts, self._images()) if size != NONE)

    def counts(self) -> tuple[int, int]:
        """Return the number of images, and of those that have a label."""
        images = self._images()
        return len(images), sum(not line.endswith(f"\t{NONE}") for line in images)

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
        """Return what :meth:`save` has written; None where there is nothing, or it is damaged."""
        try:
            first, *lines = file.read_text(encoding="utf-8").split("\n")[:-1]
        except (OSError, ValueError):
            return None
        return cls(tuple(lines)) if first == COLUMNS and all(line.count("\t") == 3 for line in lines) else None  # noqa: PLR2004  # four columns


def what_changed(earlier: Fingerprint, now: Fingerprint) -> str:
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


def images_of(source: Path, formats: tuple[str, ...]) -> Iterator[str]:
    """Return the images that a directory holds or a text file lists, as Ultralytics finds them."""
    paths = _files_below(str(source)) if source.is_dir() else _listed(source)
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


def _listed(file: Path) -> list[str]:
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
        return NONE


def _look_at_label(dataset: Dataset, image: str) -> str:
    """Return the hash of a label that is text, the size of any other, ``"-"`` where there is none."""
    if not dataset.label_dir:
        return NONE
    label = dataset.label_of(image)
    if dataset.label_suffix != ".txt":
        return str(_size(label))
    try:
        with open(label, "rb", buffering=0) as file:  # noqa: PTH123  # the same
            return _hash(file.read())
    except OSError:
        return NONE


def _hash(content: bytes) -> str:
    return blake2b(content, digest_size=8).hexdigest()
