"""Log a tuning with Ray Tune: a run for each trial, and one with the results of all.

Ray trains each trial in a worker process. The options travel there with the function that trains.
"""

from __future__ import annotations

import functools
import json
import os
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import run_name
from ultralytics_wb_ddp.distributed.trainer_mixin import patched_attribute
from ultralytics_wb_ddp.instrumentation.tuning import OF_ONE_RUN, Iteration, TuningLogger, closing_with_exit_code
from ultralytics_wb_ddp.utils.logging import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager


# Arguments of run_ray_tune that are not those of a training, in all releases.
OF_TUNING = {"model", "space", "grace_period", "gpu_per_trial", "iterations", "max_samples", "search_alg", "train_args"}
NOT_SEARCHED = {"data"}  # Ultralytics puts the dataset into the space


@contextmanager
def log_ray_tuning(
    arguments: Mapping[str, Any], options: Mapping[str, Any], log_trainings: Callable[[dict[str, Any]], None]
) -> Iterator[None]:
    """Log a tuning that takes place in a ``with`` block.

    Args:
        arguments: Arguments of ``run_ray_tune`` by name.
        options: Options of autolog by name.
        log_trainings: Function that a worker calls with the options of its run. The worker imports it.
    """
    try:
        from ray import tune
    except ImportError:
        logger.warning("ray is not installed: this tuning is not logged; install it with: pip install 'ray[tune]'")
        yield
        return
    from ultralytics.cfg import TASK2METRIC
    from ultralytics.utils import tuner as ultralytics_tuner

    metric = TASK2METRIC[arguments["model"].task]
    get_save_dir, with_resources = ultralytics_tuner.get_save_dir, tune.with_resources
    of_trials: dict[str, Any] = {}  # pickled with the function that trains, when Ray starts

    with ExitStack() as stack:

        def open_and_get_save_dir(*args: Any, **kwargs: Any) -> Path:
            directory = Path(get_save_dir(*args, **kwargs)).resolve()
            of_trainings = {name: value for name, value in arguments.items() if name not in OF_TUNING}
            tuning_logger = TuningLogger.open(
                directory,
                of_trainings,
                _describe(arguments.get("space")),
                partial(read_trials, directory, metric),
                options,
            )
            stack.enter_context(closing_with_exit_code(tuning_logger))
            of_trials.update(tuning_logger.options, name=tuning_logger.name)
            return directory

        def with_resources_and_log(trainable: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            return with_resources(_logged(trainable, of_trials, log_trainings), *args, **kwargs)

        with (
            patched_attribute(ultralytics_tuner, "get_save_dir", open_and_get_save_dir),
            patched_attribute(tune, "with_resources", with_resources_and_log),
            _without_stock_callback(),
        ):
            yield


def _logged(
    train: Callable[[Any], Any], options: dict[str, Any], log_trainings: Callable[[dict[str, Any]], None]
) -> Callable[[Any], Any]:
    """Return the function that Ray calls in a worker for each trial."""

    @functools.wraps(train)
    def train_and_log(config: Any) -> Any:
        for name in OF_ONE_RUN:
            os.environ.pop(name, None)
        log_trainings({**options, "name": run_name(options["name"], _label(_trial_id()))})
        return train(config)

    return train_and_log


def _trial_id() -> str:
    """Return the id of the trial of this worker."""
    from ray import train, tune

    context = tune.get_context() if hasattr(tune, "get_context") else train.get_context()  # before Ray 2.41
    return str(context.get_trial_id())


def _label(trial_id: str) -> str:
    """Return the end of a trial's names, as in the directories of Ultralytics' trainings."""
    return trial_id.rpartition("_")[2]


def _describe(space: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the space in which Ray searches, for the config; empty for that of Ultralytics."""
    return {name: repr(values) for name, values in (space or {}).items()}


def _without_stock_callback() -> AbstractContextManager[None]:
    """Switch off Ray's callback for W&B, which Ultralytics before 8.4.0 adds."""
    from ray import tune

    try:
        from ray.air.integrations import wandb as integration
    except ImportError:
        return nullcontext()
    return patched_attribute(integration, "WandbLoggerCallback", lambda **_: tune.Callback())


def read_trials(directory: Path, metric: str) -> list[Iteration]:
    """Return the results of the trials that have ended, in the order of their ends.

    Args:
        directory: Directory of the tuning. Ray writes a file of results for each trial there.
        metric: Name of the metric that the tuning maximizes.
    """
    results = [_last_result(file) for file in directory.rglob("result.json")]
    ended = sorted((result for result in results if result.get("done")), key=lambda result: result["timestamp"])
    return [
        Iteration(
            _label(result["trial_id"]),
            float(result.get(metric) or 0.0),
            {name: value for name, value in result["config"].items() if name not in NOT_SEARCHED},
        )
        for result in ended
    ]


def _last_result(file: Path) -> dict[str, Any]:
    """Return the last result in a file that has a line of JSON for each; empty if it is not written yet."""
    lines = file.read_text(encoding="utf-8").splitlines()
    try:
        result: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {}
    return result
