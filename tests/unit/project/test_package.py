"""The package as it is installed: its public names, its requirements, its docstrings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest

import ultralytics_wb_ddp
from support.paths import TESTS
from ultralytics_wb_ddp import testing


def test_public_names_can_be_completed() -> None:
    assert set(ultralytics_wb_ddp.__all__) <= set(dir(ultralytics_wb_ddp))


def test_every_public_name_can_be_had() -> None:
    assert [name for name in ultralytics_wb_ddp.__all__ if not hasattr(ultralytics_wb_ddp, name)] == []


def test_callbacks_are_functions_by_event_as_the_stock_ones_are() -> None:
    assert {"on_pretrain_routine_start", "on_fit_epoch_end", "on_train_end"} <= set(ultralytics_wb_ddp.callbacks)
    assert all(callable(function) for function in ultralytics_wb_ddp.callbacks.values())


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'WandbManger'"):
        _ = ultralytics_wb_ddp.WandbManger


def test_metadata_declares_version_and_requirements() -> None:
    assert version("ultralytics-wb-ddp") == ultralytics_wb_ddp.__version__
    declared = " ".join(requires("ultralytics-wb-ddp") or [])
    for name in ("ultralytics", "torch", "wandb", "cloudpickle", "omegaconf", "click", "psutil", "boto3"):
        assert name in declared


def test_what_is_imported_is_declared() -> None:
    files = Path(ultralytics_wb_ddp.__file__).parent.rglob("*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    imported = {name.partition(".")[0] for name in names} - {*sys.stdlib_module_names, "ultralytics_wb_ddp"}
    known_as = {"PIL": "pillow", "yaml": "pyyaml", "botocore": "boto3"}  # the last is the other's own half

    declared = {re.split(r"[^\w-]", requirement)[0] for requirement in requires("ultralytics-wb-ddp") or []}

    assert {known_as.get(name, name).replace("_", "-") for name in imported} <= declared


# What classes have for the package's own use, or for the trainer, which calls events by their names.
OF_THE_PACKAGE = {
    "Links": {"of_run", "of_launcher"},
    "RankPlan": {"within"},
    "RunGroup": {"add_result"},
    "Statistics": {"of"},
    "WandbCallback": {"timer", "options", "teardown"},
    "WandbConfig": {"as_layer", "parse", "parse_layer", "training_options"},
}


def public_names() -> Iterator[tuple[str, Any]]:
    """Yield what users can call or read: functions, classes, their methods, properties and fields."""
    for module in (ultralytics_wb_ddp, testing):
        for name in module.__all__:
            thing = getattr(module, name)
            yield name, thing
            if not inspect.isclass(thing) or name.startswith("CpuDDP"):
                continue
            own = [kind for kind in thing.__mro__ if kind.__module__.startswith("ultralytics_wb_ddp")]
            members = {key: value for kind in reversed(own) for key, value in vars(kind).items()}
            fields = {field.name for field in dataclasses.fields(thing)} if dataclasses.is_dataclass(thing) else set()
            for member, value in {**dict.fromkeys(fields), **members}.items():
                is_of_users = not member.startswith(("_", "on_")) and member not in OF_THE_PACKAGE.get(name, ())
                if is_of_users and (member in fields or callable(value) or isinstance(value, (property, classmethod))):
                    yield f"{name}.{member}", value


def test_typed_example_uses_the_whole_public_api() -> None:
    tree = ast.parse(TESTS.joinpath("typing").joinpath("api.py").read_text(encoding="utf-8"))
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    used |= {str(node.arg) for node in ast.walk(tree) if isinstance(node, ast.keyword)}

    assert [name for name, _ in public_names() if name.rpartition(".")[2] not in used] == []


def functions() -> Iterator[tuple[str, Any]]:
    """Yield the functions, methods and constructors of the public API."""
    for name, thing in public_names():
        function = thing.fget if isinstance(thing, property) else getattr(thing, "__func__", thing)
        if inspect.isclass(thing) and not dataclasses.is_dataclass(thing) and "__init__" in vars(thing):
            yield name, thing
        elif inspect.isfunction(function):
            yield name, function


def test_docstrings_tell_arguments_results_and_errors() -> None:
    missing = []
    for name, function in functions():
        said = inspect.getdoc(function) or ""
        parameters = [each for each in inspect.signature(function).parameters if each not in {"self", "cls"}]
        told = re.findall(r"^ +\*{0,2}(\w+): ", said, re.MULTILINE)
        missing += [f"{name}: {each}" for each in parameters if each not in told]
        if inspect.isclass(function):
            continue
        is_told = re.search(r"^(Returns:|Yields:|Return |The |What |Whether |All )", said, re.MULTILINE)
        if inspect.signature(function).return_annotation != "None" and not is_told:
            missing.append(f"{name}: what it returns")
        raised = re.findall(r"raise (\w+)\(", textwrap.dedent(inspect.getsource(function)))
        missing += [f"{name}: {error}" for error in raised if error not in said]

    assert missing == []
