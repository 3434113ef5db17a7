"""The files whose weights a network holds when its training begins: tensors are compared, arguments only name files.

No checkpoint is unpickled: the tensors' bytes lie apart in the archive that it is.
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


WEIGHTS, STATISTICS = 48, 16  # tensors of a sample: of weights, and of what batch normalization has seen
VALUES = 2_000_000  # all of its weights' values at most: 8 MB to copy
SMALLEST = 32  # values of a tensor; few values may be equal by chance, or constants of the architecture
FURTHER = 0.1  # share of the tensors that a further file must add: a head that is left of it is less
NO_PART = (".dfl.", "teacher_model.", "projector.")  # constants, and what a distillation adds to the network
BYTES = {2: np.int16, 4: np.int32}  # of a value: checkpoints hold the halves of a network's numbers, or these


@dataclass(frozen=True)
class WeightSample:
    """Some of a network's tensors as they were when its training began.

    Attributes:
        weights: Values of the smallest weights.
        statistics: Values of running means and variances.
    """

    weights: tuple[Any, ...] = ()
    statistics: tuple[Any, ...] = ()

    @classmethod
    def of_network(cls, network: Any) -> WeightSample:
        """Copy tensors of a network, so few that the training does not wait for them.

        Args:
            network: A ``torch.nn.Module``, wrapped or not; anything else has no tensors.
        """
        if not hasattr(network, "named_parameters"):
            return cls()
        named = [item for item in (*network.named_parameters(), *network.named_buffers()) if _is_of_interest(*item)]
        statistics = [tensor for name, tensor in named if name.endswith(("running_mean", "running_var"))]
        weights: list[Any] = []
        left = VALUES
        for tensor in sorted((tensor for _, tensor in named if tensor.ndim > 1), key=lambda tensor: tensor.numel()):
            left -= tensor.numel()
            if left < 0 or len(weights) == WEIGHTS:
                break
            weights.append(_copy(tensor))
        return cls(tuple(weights), tuple(map(_copy, statistics[:STATISTICS])))

    @property
    def is_trained(self) -> bool:
        """Whether the network has learned from images already."""
        return any(_varies(values) for values in self.statistics)

    def matching_files(self, files: Sequence[Path]) -> list[Path]:
        """Return the files that hold its tensors, the one that holds most of them first.

        Args:
            files: Checkpoints, the likeliest first.
        """
        wanted = [_keys_of(values) for values in (*self.weights, *self.statistics) if _varies(values)]
        sizes = {size for keys in wanted for size, _ in keys}
        held = {}
        for file in files:
            keys = set(_keys_in(file, sizes))
            held[file] = {number for number, either in enumerate(wanted) if either & keys}
        found: list[Path] = []
        left = set(range(len(wanted)))
        while held:
            file = max(held, key=lambda file: len(held[file] & left))
            new = held.pop(file) & left
            if not new or (found and len(new) < FURTHER * len(wanted)):
                break
            found.append(file)
            left -= new
        return found


def candidate_files_of_trainer(trainer: Any, others: Iterable[str]) -> tuple[Path, ...]:
    """Return the files that a training may have got its weights from, the likeliest first.

    Args:
        trainer: The trainer.
        others: Further ones that the launcher has named.
    """
    network = getattr(trainer.model, "module", trainer.model)
    named = [getattr(network, "pt_path", None), trainer.args.pretrained, trainer.args.model]
    return _existing([*named, *others, *candidate_files_of_calling_model()])


def candidate_files_of_calling_model() -> tuple[str, ...]:
    """Return the files that the model whose ``train`` has been called may have its weights from.

    The model is looked for among the callers, as a trainer does not know it.
    """
    model = _calling_model()
    if model is None:
        return ()
    overrides, checkpoint = getattr(model, "overrides", None) or {}, getattr(model, "ckpt", None) or {}
    named = [getattr(getattr(model, "model", None), "pt_path", None), getattr(model, "ckpt_path", None)]
    named += [overrides.get("pretrained"), overrides.get("model")]
    for arguments in (overrides, checkpoint.get("train_args") if isinstance(checkpoint, dict) else None):
        if arguments:  # of an earlier training of this model, which has loaded its result; 8.3.0 names no save_dir
            place = arguments.get("save_dir") or Path(str(arguments.get("project")), str(arguments.get("name")))
            named += [Path(str(place), "weights", name) for name in ("best.pt", "last.pt")]
    return tuple(str(file.absolute()) for file in _existing(named))


def _calling_model() -> Any:
    module = sys.modules.get("ultralytics.engine.model")
    frame = inspect.currentframe()
    while frame and module:
        caller = frame.f_locals.get("self") if frame.f_code.co_name == "train" else None
        if isinstance(caller, module.Model):
            return caller
        frame = frame.f_back
    return None


def _existing(named: Iterable[Any]) -> tuple[Path, ...]:
    """Return the files that were named: here, or where Ultralytics downloads them to."""
    from ultralytics.utils import SETTINGS

    found: dict[Path, Path] = {}
    for name in named:
        if not isinstance(name, (str, Path)) or not str(name):
            continue
        file = Path(str(name).partition("?")[0]) if "://" in str(name) else Path(name)
        with suppress(OSError, ValueError):  # no name of a file, or too long for one
            file = file if file.suffix else file.with_suffix(".pt")
            for place in (file, Path(SETTINGS["weights_dir"], file.name), Path(file.name)):
                if place.is_file():
                    found.setdefault(place.resolve(), place)
    return tuple(found.values())


def _is_of_interest(name: str, tensor: Any) -> bool:
    return tensor.is_floating_point() and tensor.numel() >= SMALLEST and not any(part in name for part in NO_PART)


def _copy(tensor: Any) -> Any:
    return tensor.detach().float().to("cpu", copy=True).flatten().numpy()


def _varies(values: Any) -> bool:
    """Return whether values tell a tensor from others: not those that every new network has."""
    return bool((values != values[0]).any())


def _keys_of(values: Any) -> set[tuple[int, bytes]]:
    with np.errstate(over="ignore"):
        return {_key(form.view(BYTES[form.itemsize])) for form in (values.astype(np.float16), values)}


def _keys_in(file: Path, sizes: set[int]) -> Iterator[tuple[int, bytes]]:
    """Return the keys of the tensors of these sizes that a checkpoint holds; none of another kind of file."""
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.file_size in sizes:
                content = archive.read(entry)
                yield from (
                    _key(np.frombuffer(content, form)) for size, form in BYTES.items() if len(content) % size == 0
                )


def _key(values: Any) -> tuple[int, bytes]:
    """Return what numbers have in common with the same in any order: memory formats of tensor and file may differ."""
    return values.nbytes, blake2b(np.sort(values).tobytes(), digest_size=16).digest()
