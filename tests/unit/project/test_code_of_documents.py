"""The code of README, docs and examples, and the README's commands, name things that there are."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module

import ultralytics_wb_ddp
from support.documents import CODE, COMMANDS
from support.paths import EXAMPLES, ROOT
from ultralytics_wb_ddp.config.options import GroupOptionsDict, ProgramOptionsDict, ScopeOptionsDict

EXAMPLES_CODE = [file.read_text(encoding="utf-8") for file in sorted(EXAMPLES.glob("*.py"))]
NODES = [node for code in [*CODE.values(), *EXAMPLES_CODE] for node in ast.walk(ast.parse(code))]
OPTIONS = {name for of in (ScopeOptionsDict, GroupOptionsDict, ProgramOptionsDict) for name in of.__annotations__}
OF_MODEL_TRAIN = {"train_distributed"}  # takes the arguments of Ultralytics


def test_every_usage_is_among_the_code() -> None:
    for words in ("add_wandb_callback(model, run=run)", "WandbManager(cfg", "callbacks.items()", "CpuDDPTrainer"):
        assert any(words in block for block in CODE.values())


def test_code_imports_what_there_is() -> None:
    imports = [node for node in NODES if isinstance(node, ast.ImportFrom) and node.module]
    names = [(str(node.module), alias.name) for node in imports for alias in node.names]
    ours = [(module, name) for module, name in names if module.startswith("ultralytics_wb_ddp")]

    assert len(ours) > 10
    assert [(module, name) for module, name in ours if not hasattr(import_module(module), name)] == []


def test_code_gives_arguments_that_there_are() -> None:
    calls = list(calls_of_the_package())

    assert len(calls) > 10
    for name, given in calls:
        parameters = inspect.signature(getattr(ultralytics_wb_ddp, name)).parameters
        assert given - set(parameters) <= (OPTIONS if "options" in parameters else set()), name


def calls_of_the_package() -> Iterator[tuple[str, set[str]]]:
    """Yield the name of each function or class of ours that the code calls, with the names of the arguments."""
    for node in NODES:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            if name in ultralytics_wb_ddp.__all__ and name not in OF_MODEL_TRAIN:
                yield name, {str(keyword.arg) for keyword in node.keywords if keyword.arg}


def test_commands_are_scripts_of_the_project() -> None:
    assert [command.split()[0] for command in COMMANDS] == ["scripts/demo", "scripts/test"]
    assert all((ROOT / command.strip()).stat().st_mode & 0o111 for command in [*COMMANDS, "scripts/matrix"])


def test_ci_calls_the_test_command_as_it_stands_here() -> None:
    assert COMMANDS[1].strip() in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()
