"""The variables by which autolog reaches other Python processes."""

from __future__ import annotations

import os

import pytest

from ultralytics_wb_ddp import ConfigurationError
from ultralytics_wb_ddp.instrumentation.bootstrap import sitecustomize
from ultralytics_wb_ddp.instrumentation.environment import (
    AUTOLOG_VARIABLE,
    BOOTSTRAP,
    autolog_variables,
    options_from_environment,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, [BOOTSTRAP]),
        ("", [BOOTSTRAP]),
        ("/a", [BOOTSTRAP, "/a"]),
        (os.pathsep.join(["/a", BOOTSTRAP, "/b"]), [BOOTSTRAP, "/a", "/b"]),  # a command in a command
    ],
)
def test_bootstrap_directory_is_first_on_the_path_once(path: str | None, expected: list[str]) -> None:
    variables = autolog_variables({}, {} if path is None else {"PYTHONPATH": path})

    assert variables["PYTHONPATH"].split(os.pathsep) == expected


def test_options_travel_as_json() -> None:
    options = {"project": "demo", "tags": ["a", "b"], "mistakes": 0}

    assert options_from_environment(autolog_variables({**options, "tags": ("a", "b")}, {})) == options


def test_without_the_variable_autolog_is_off() -> None:
    assert options_from_environment({}) is None


@pytest.mark.parametrize("text", ["{", "[]", "demo"])
def test_damaged_variable_is_an_error_with_a_remedy(text: str) -> None:
    with pytest.raises(ConfigurationError, match="is no JSON object; unset it"):
        options_from_environment({AUTOLOG_VARIABLE: text})


def test_sitecustomize_knows_the_variable_without_an_import_of_the_package() -> None:
    assert sitecustomize.VARIABLE == AUTOLOG_VARIABLE
