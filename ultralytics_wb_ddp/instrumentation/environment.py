"""Set the variables by which autolog reaches the Python processes that a process starts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.validation import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


AUTOLOG_VARIABLE = "ULTRALYTICS_WB_DDP_AUTOLOG"
BOOTSTRAP = str(Path(__file__).with_name("bootstrap"))  # directory of a sitecustomize.py


def autolog_variables(options: Mapping[str, Any], env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables with which Python processes log their trainings.

    Args:
        options: Options of autolog by name, checked.
        env: The environment to which they are added; by default that of this process.
    """
    env = os.environ if env is None else env
    others = [entry for entry in env.get("PYTHONPATH", "").split(os.pathsep) if entry != BOOTSTRAP]
    path = os.pathsep.join([BOOTSTRAP, *others]) if any(others) else BOOTSTRAP
    return {"PYTHONPATH": path, AUTOLOG_VARIABLE: json.dumps(dict(options))}


def options_from_environment(env: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """Return the options of autolog from the environment; None if it is off there.

    Raises:
        ConfigurationError: The variable is no JSON object.
    """
    text = (os.environ if env is None else env).get(AUTOLOG_VARIABLE)
    if not text:
        return None
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        msg = f"{AUTOLOG_VARIABLE}={text!r} is no JSON object; unset it: 'ultralytics-wb-ddp run' sets it itself"
        raise ConfigurationError(msg)
    return options
