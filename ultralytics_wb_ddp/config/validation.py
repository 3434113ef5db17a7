"""Validate what users write, by pydantic, and say what is wrong with it.

The types of settings are annotated with a :class:`Rule`. :func:`validate` converts a value to such a type. It raises a
:class:`ConfigurationError` that names the setting, its value, the cause and the remedy. The first validation imports
pydantic, so that a worker whose launcher has validated its options does without.
"""

from __future__ import annotations

import difflib
import functools
import sys
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.serialization import is_secret_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


MANAGER_OPTIONS = {  # options that a callback does not take
    "id": "WANDB_RUN_ID and WANDB_PROJECT name a run to continue, and wandb.init(id=...) makes one to give as run=; a "
    "manager and a job take it in cfg.wandb.id",
    "api_key": "set WANDB_API_KEY or call 'wandb login'; a manager and a job take it in cfg.wandb.api_key",
    "keep_open": "a manager and a job take it in cfg.wandb.keep_open",
    "resume": "it is an argument of the training: model.train(resume=True) continues the run as well",
    "config": "the training's arguments are in the run's config by themselves; add others with run.config.update(...)",
    "experiment_group_name": "the name here is group",
}
FORBID_OTHERS = {"extra": "forbid"}  # pydantic's configuration of a dataclass whose names are all known
SECTION = "a section of 'name: value' lines"
UNKNOWN_KEY = "unexpected_keyword_argument"  # pydantic's type of error
EXPECTED_TYPES = {"tuple_type": "a list", "list_type": "a list", "mapping_type": SECTION, "dict_type": SECTION}
STRICT_TYPES = {"bool", "int", "float", "str"}  # in which pydantic must convert nothing, such as "yes" to True


class ConfigurationError(UserError, ValueError):
    """A setting that cannot work."""


@dataclass(frozen=True)
class Rule:
    """The rule of a type of setting, for ``typing.Annotated``.

    Attributes:
        expected: What a value must be, such as ``"true or false"``. Without it pydantic explains a wrong type.
        check: Function that returns a value of the type. It raises ``ValueError`` with the cause and the remedy, or
            without a message if ``expected`` says all.
        convert: Function for what the user wrote, before the type is checked.
    """

    expected: str = ""
    check: Callable[[Any], Any] | None = None
    convert: Callable[[Any], Any] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Return pydantic's schema of the type with this rule."""
        from pydantic import ValidationError, WrapValidator

        def apply(value: Any, validate_type: Callable[[Any], Any]) -> Any:
            try:
                typed = validate_type(self.convert(value) if self.convert else value)
                return self.check(typed) if self.check else typed
            except ValidationError as error:
                if not self.expected or error.errors()[0]["loc"]:  # of an item, which has a rule of its own
                    raise
            except ValueError as error:
                if str(error):
                    raise
            msg = f"{self.expected} is expected"
            raise ValueError(msg)

        def strictly(kind: Any) -> Any:
            schema = handler(kind)
            return {**schema, "strict": True} if schema["type"] in STRICT_TYPES else schema

        return WrapValidator(apply).__get_pydantic_core_schema__(source, strictly)  # type: ignore[arg-type]


def validate(kind: Any, value: Any, prefix: str = "", title: str = "") -> Any:
    """Return a value that a user wrote as a type.

    Args:
        kind: The type: an annotated one, or a dataclass of such types.
        value: The value; for a dataclass, the values by name.
        prefix: Text before the names of the settings in messages, such as ``"cfg.wandb."``, ``"add_wandb_callback: "``
            or ``"--"``; for a single value, its name.
        title: Name of the whole dataclass in messages, where the prefix does not say it.

    Raises:
        ConfigurationError: The value is of another type, or breaks a rule.
    """
    from pydantic import ValidationError

    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as failure:
        errors = failure.errors()
    error = next((each for each in errors if each["type"] == UNKNOWN_KEY), errors[0])  # a misspelt key is missing, too
    raise ConfigurationError(_explain(kind, error, prefix, title))


@functools.cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _explain(kind: Any, error: Any, prefix: str, title: str) -> str:
    """Return the message for an error of pydantic."""
    *parents, name = error["loc"] or [""]
    if isinstance(problem := error.get("ctx", {}).get("error"), ConfigurationError):
        return str(problem)
    if error["type"] == UNKNOWN_KEY:
        return explain_unknown_key(name, known_keys(kind, parents), f"{prefix}{_join(parents)}".rstrip(".: ") or title)
    setting, value = f"{prefix}{_join(error['loc'])}" or title, error["input"]
    if prefix == "--":
        setting = setting.replace("_", "-")
    if error["type"] == "missing":
        rule = next((each for each in _metadata(kind, error["loc"]) if isinstance(each, Rule)), Rule())
        return f"{setting} is missing" + (f"; {rule.expected} is expected" if rule.expected else "")
    shown = f"{setting} of type {type(value).__name__}" if is_secret_key(name or prefix) else f"{setting}={value!r}"
    if error["type"] == "literal_error":
        choices = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        remedy = "use run_mode='shared'" if value == "shared" else f"choose one of {choices}"
        return f"{shown} is unknown; {remedy}"
    if error["type"] == "dataclass_type":
        return f"{shown}: {SECTION} is expected, of {', '.join(known_keys(kind, error['loc']))}"
    if error["type"] == "value_error":
        problem = error["ctx"]["error"]
    else:
        expected = EXPECTED_TYPES.get(error["type"]) or error["msg"].removeprefix("Input should be ")
        problem = f"{expected} is expected"
    return f"{setting} is missing; {problem}" if value is None else f"{shown}: {problem}"


def _join(location: Sequence[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def known_keys(kind: Any, location: Iterable[int | str] = ()) -> list[str]:
    """Return the names of the fields of a dataclass, or of one at a location in it."""
    return [field.name for field in fields(_dataclass_at(kind, location))]


def _dataclass_at(kind: Any, location: Iterable[int | str]) -> Any:
    for part in (None, *location):
        inner = get_type_hints(kind)[part] if isinstance(part, str) and is_dataclass(kind) else kind
        kind = next((each for each in get_args(inner) if is_dataclass(each)), inner)
    return kind


def _metadata(kind: Any, location: Sequence[int | str]) -> tuple[Any, ...]:
    *parents, name = location
    hint = get_type_hints(_dataclass_at(kind, parents), include_extras=True)[str(name)]
    return getattr(hint, "__metadata__", ())


def check_known_keys(names: Iterable[Any], known: Sequence[str], where: str) -> None:
    """Refuse unknown settings.

    Args:
        names: The settings.
        known: The known settings.
        where: Origin of the settings, for the message.

    Raises:
        ConfigurationError: A setting is unknown. The message names the nearest known one.
    """
    for name in names:
        if name not in known:
            raise ConfigurationError(explain_unknown_key(name, known, where))


def explain_unknown_key(name: Any, known: Sequence[str], where: str) -> str:
    """Return the message for an unknown setting, with the place where it belongs or the nearest known one."""
    if explanation := _explain_misplaced_option(name, known):
        return f"{where}: {name!r} has no place here: {explanation}"
    close = difflib.get_close_matches(str(name), known, n=1)
    remedy = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
    return f"{where}: {name!r} is unknown; {remedy}"


def _explain_misplaced_option(name: Any, known: Sequence[str]) -> str | None:
    """Return an explanation where an unknown setting of a run belongs, or None."""
    if "run_mode" not in known:
        return None
    if name in MANAGER_OPTIONS:
        return MANAGER_OPTIONS[name]
    module = sys.modules.get("ultralytics.utils")  # not imported before a training
    is_argument = str(name) in getattr(module, "DEFAULT_CFG_DICT", ())
    return f"it is an argument of the training: model.train({name}=...), train.{name} in a job" if is_argument else None
