"""Convert configs to plain data and redact the secrets in it."""

from __future__ import annotations

import itertools
import re
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from os import PathLike, fspath
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

URL_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"]+")
REDACTED = "[redacted]"
_SECRET_WORDS = frozenset(
    {"accesskey", "apikey", "authorization", "credential", "credentials", "passphrase", "passwd", "password"}
    | {"passwords", "privatekey", "pwd", "secret", "secretkey", "secrets", "token"}
)
_SECRET_KEYS = frozenset({("access", "key"), ("account", "key"), ("api", "key"), ("auth", "key"), ("private", "key")})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


def to_plain(value: Any, *, resolve: bool = False) -> Any:  # noqa: PLR0911  # a case for each kind of value
    """Return a config as plain dictionaries, lists, strings and numbers.

    Args:
        value: An OmegaConf config, mapping, dataclass, namespace or list, nested in any way. A value that YAML cannot
            hold becomes its string.
        resolve: Whether to replace OmegaConf's interpolations by their values. An interpolation that is kept, such as
            ``${oc.env:...}``, discloses no secret.
    """
    omegaconf = sys.modules.get("omegaconf")  # imported if the value is one of its configs
    if omegaconf and omegaconf.OmegaConf.is_config(value):
        plain = omegaconf.OmegaConf.to_container(value, resolve=resolve, enum_to_str=True)
        return to_plain(plain, resolve=resolve)
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain({field.name: getattr(value, field.name) for field in fields(value)}, resolve=resolve)
    if isinstance(value, (Namespace, SimpleNamespace)):
        return to_plain(vars(value), resolve=resolve)
    if isinstance(value, Mapping):
        return {_key(key): to_plain(item, resolve=resolve) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item, resolve=resolve) for item in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, PathLike):
        return fspath(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else str(value)


def redact(value: Any, secrets: Iterable[str | None] = ()) -> Any:
    """Return plain data without its secrets.

    A value is replaced by ``[redacted]`` if its key names a secret (``api_key``, ``token``, ``secret``, ``password``
    and the like, as words of the key: ``num_tokens`` is no secret). Each occurrence of a string in ``secrets`` is
    replaced, too.
    """
    nonempty = [secret for secret in secrets if secret]

    def clean(item: Any) -> Any:
        if isinstance(item, dict):
            return {
                clean(key): REDACTED if is_secret_key(key) and not _is_empty(entry) else clean(entry)
                for key, entry in item.items()
            }
        if isinstance(item, list):
            return [clean(entry) for entry in item]
        if isinstance(item, str):
            for secret in nonempty:
                item = item.replace(secret, REDACTED)
        return item

    return clean(value)


def strip_credentials(address: str) -> str:
    """Return a URL without user, password, query and fragment."""
    parts = urlsplit(address)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", {}, []) or isinstance(value, bool)


def is_secret_key(key: Any) -> bool:
    """Return whether a key names a secret.

    The spelling does not matter: ``apiKey``, ``WANDB_API_KEY``, ``hf-token``.
    """
    words = [word.lower() for word in _WORD.findall(str(key))]
    pairs = {(first, second.removesuffix("s")) for first, second in itertools.pairwise(words)}
    return bool(_SECRET_WORDS & set(words)) or bool(_SECRET_KEYS & pairs)


def _key(key: Any) -> Any:
    return key if isinstance(key, (str, int, float, bool)) else str(key)
