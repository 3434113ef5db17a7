"""Find the files that hold a network's starting weights.

The training's arguments name candidates, and a comparison of tensors chooses among them. No checkpoint is unpickled: a
checkpoint is an archive with one entry for the bytes of each tensor.
"""

from __future__ import annotations

import inspect
import sys
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


WEIGHTS, STATISTICS = 48, 16  # tensors of a sample: of weights, and of batch normalization's running statistics
VALUES = 2_000_000  # maximum number of a sample's weights: 8 MB to copy
SMALLEST = 32  # minimum number of a tensor's values: fewer may be equal by chance, or be constants
FURTHER = 0.1  # minimum share of the tensors that a further file must add; a leftover head adds less
NO_PART = (".dfl.", "teacher_model.", "projector.")  # constants, and modules that a distillation adds
BYTES = {2: np.int16, 4: np.int32}  # integer type by bytes per value: checkpoints store float16 or float32


@dataclass(frozen=True)
class WeightSample:
    """A sample of a network's tensors at the start of its training.

    Attributes:
        weights: Values of the smallest weights.
        statistics: Values of running means and variances.
    """

    weights: tuple[Any, ...] = ()
    statistics: tuple[Any, ...] = ()

    @classmethod
    def of_network(cls, network: Any) -> WeightSample:
        """Copy a few tensors of a ``torch.nn.Module``, wrapped or not. Other objects give an empty sample."""
        if not hasattr(network, "named_parameters"):
            return cls()
        tensors = [item for item in (*network.named_parameters(), *network.named_buffers()) if _is_of_interest(*item)]
        statistics = [tensor for name, tensor in tensors if name.endswith(("running_mean", "running_var"))]
        weights: list[Any] = []
        left = VALUES
        for tensor in sorted((tensor for _, tensor in tensors if tensor.ndim > 1), key=lambda tensor: tensor.numel()):
            left -= tensor.numel()
            if left < 0 or len(weights) == WEIGHTS:
                break
            weights.append(_copy(tensor))
        return cls(tuple(weights), tuple(map(_copy, statistics[:STATISTICS])))

    @property
    def is_trained(self) -> bool:
        """Whether the network has been trained before."""
        return any(_varies(values) for values in self.statistics)

    def matching_files(self, files: Sequence[Path]) -> list[Path]:
        """Return the files that hold the sample's tensors, best match first."""
        expected = [_keys_of(values) for values in (*self.weights, *self.statistics) if _varies(values)]
        sizes = {size for keys in expected for size, _ in keys}
        matches = {}
        for file in files:
            keys = set(_keys_in(file, sizes))
            matches[file] = {number for number, forms in enumerate(expected) if forms & keys}
        chosen: list[Path] = []
        remaining = set(range(len(expected)))
        while matches:
            file = max(matches, key=lambda file: len(matches[file] & remaining))
            new = matches.pop(file) & remaining
            if not new or (chosen and len(new) < FURTHER * len(expected)):
                break
            chosen.append(file)
            remaining -= new
        return chosen


def candidate_files_of_trainer(trainer: Any, further_files: Iterable[str]) -> tuple[Path, ...]:
    """Return the files that may hold the starting weights, the likeliest first.

    The launcher may have named further files.
    """
    network = getattr(trainer.model, "module", trainer.model)
    candidates = [getattr(network, "pt_path", None), trainer.args.pretrained, trainer.args.model]
    return _existing([*candidates, *further_files, *candidate_files_of_calling_model()])


def candidate_files_of_calling_model() -> tuple[str, ...]:
    """Return the files that may hold the calling model's weights.

    A trainer does not know its model, so this function searches the call stack for ``Model.train``.
    """
    model = _calling_model()
    if model is None:
        return ()
    overrides, checkpoint = getattr(model, "overrides", None) or {}, getattr(model, "ckpt", None) or {}
    candidates = [getattr(getattr(model, "model", None), "pt_path", None), getattr(model, "ckpt_path", None)]
    candidates += [overrides.get("pretrained"), overrides.get("model")]
    for arguments in (overrides, checkpoint.get("train_args") if isinstance(checkpoint, dict) else None):
        if arguments:  # of a previous training, whose result the model has loaded; 8.3.0 has no save_dir
            save_dir = arguments.get("save_dir") or Path(str(arguments.get("project")), str(arguments.get("name")))
            candidates += [Path(str(save_dir), "weights", name) for name in ("best.pt", "last.pt")]
    return tuple(str(file.absolute()) for file in _existing(candidates))


def _calling_model() -> Any:
    module = sys.modules.get("ultralytics.engine.model")
    frame = inspect.currentframe()
    while frame and module:
        caller = frame.f_locals.get("self") if frame.f_code.co_name == "train" else None
        if isinstance(caller, module.Model):
            return caller
        frame = frame.f_back
    return None


def _existing(candidates: Iterable[Any]) -> tuple[Path, ...]:
    """Return the existing files, also from Ultralytics' download directory."""
    from ultralytics.utils import SETTINGS

    files: dict[Path, Path] = {}
    for name in candidates:
        if not isinstance(name, (str, Path)) or not str(name):
            continue
        file = Path(str(name).partition("?")[0]) if "://" in str(name) else Path(name)
        with suppress(OSError, ValueError):  # not a file name, or too long
            file = file if file.suffix else file.with_suffix(".pt")
            for path in (file, Path(SETTINGS["weights_dir"], file.name), Path(file.name)):
                if path.is_file():
                    files.setdefault(path.resolve(), path)
    return tuple(files.values())


def _is_of_interest(name: str, tensor: Any) -> bool:
    return tensor.is_floating_point() and tensor.numel() >= SMALLEST and not any(part in name for part in NO_PART)


def _copy(tensor: Any) -> Any:
    return tensor.detach().float().to("cpu", copy=True).flatten().numpy()


def _varies(values: Any) -> bool:
    """Return whether values identify a tensor: equal ones are initial constants."""
    return bool((values != values[0]).any())


def _keys_of(values: Any) -> set[tuple[int, bytes]]:
    with np.errstate(over="ignore"):
        return {_key(form.view(BYTES[form.itemsize])) for form in (values.astype(np.float16), values)}


def _keys_in(file: Path, sizes: set[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the keys of a checkpoint's tensors of these sizes in bytes."""
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.file_size in sizes:
                content = archive.read(entry)
                yield from (
                    _key(np.frombuffer(content, form)) for size, form in BYTES.items() if len(content) % size == 0
                )


def _key(values: Any) -> tuple[int, bytes]:
    """Return a key independent of the order, because memory formats may differ."""
    return values.nbytes, blake2b(np.sort(values).tobytes(), digest_size=16).digest()
