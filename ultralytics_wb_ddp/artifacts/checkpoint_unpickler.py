"""Unpickle a checkpoint without importing the classes of its objects."""

from __future__ import annotations

import pickle
from typing import Any


class _PlaceholderMeta(type):
    """Metaclass whose classes return themselves for every attribute."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return cls


class _Placeholder(metaclass=_PlaceholderMeta):
    """Placeholder for an object of any class. It ignores its arguments, state and items."""

    def __new__(cls, *_: Any, **__: Any) -> Any:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def __call__(self, *_: Any, **__: Any) -> Any:
        return self

    def append(self, value: Any) -> None: ...

    extend = add = append

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def placeholder_class(name: str) -> Any:
    """Return a class whose objects take the place of the objects of a class, named with or without its module."""
    return _PlaceholderMeta(name.rpartition(".")[2], (_Placeholder,), {})


class PlainUnpickler(pickle.Unpickler):
    """An unpickler of plain values. It imports no class and reads no tensor."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ARG002  # as in the base class
        """Return a placeholder."""
        return placeholder_class(name)

    def persistent_load(self, pid: Any) -> Any:  # noqa: ARG002  # as in the base class
        """Return None instead of a tensor's numbers."""
        return None
