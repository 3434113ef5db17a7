"""Run a sweep's agents, which query W&B and start the trials."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ultralytics_wb_ddp.distributed.processes import SERVICE_PROCESS_MODULE
from ultralytics_wb_ddp.runs.trial_env import stop_request_file
from ultralytics_wb_ddp.sweeps.trial_process import run_trial_process
from ultralytics_wb_ddp.utils.errors import UserError
from ultralytics_wb_ddp.utils.logging import format_exception, logger, pluralize
from ultralytics_wb_ddp.wandb_client.child_process import run_in_child

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ultralytics_wb_ddp.wandb_client.internals import SweepAgentClient


AGENT_POLL_INTERVAL = 0.2  # seconds between two checks of the trials
HEARTBEAT = 5.0  # seconds between two queries of an agent, as in W&B's own agent
TERMINATION_TIMEOUT = 60.0  # seconds until a trial is killed after a signal; a preempted trial needs up to 50
MAX_INITIAL_FAILURES = 5  # failures in a row at the start that end the sweep, as in W&B's own agent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SweepError(UserError, RuntimeError):
    """Error that ends a sweep."""


@dataclass
class Trial:
    """One trial of a sweep.

    Attributes:
        exit_code: Exit code of the trial's process, negative after a signal; None while the trial runs.
        stopped: Whether W&B has stopped the trial early.
    """

    run_id: str
    parameters: dict[str, Any]
    exit_code: int | None = None
    stopped: bool = False


@dataclass
class _AgentState:
    """State of one agent.

    Attributes:
        work: Pickled function of the trials.
        queue: Trials from W&B that are not started yet.
        last_query: Time of the last query by ``time.monotonic``.
        is_cut_off: Whether the last query failed.
        is_done: Whether W&B has no more trials for the agent.
    """

    wandb: SweepAgentClient
    work: bytes
    queue: list[Trial] = field(default_factory=list)
    trial: Trial | None = None
    process: subprocess.Popen[bytes] | None = None
    parameters: Path = Path()
    last_query: float = -HEARTBEAT
    is_cut_off: bool = False
    is_done: bool = False

    @property
    def active(self) -> list[str]:
        """Ids of the running and queued trials."""
        return [trial.run_id for trial in [self.trial, *self.queue] if trial]


class AgentPool:
    """The agents of this process.

    Args:
        agents: For each agent, its client at W&B and the function of its trials, pickled by cloudpickle. The function
            takes the parameters.
        environment: Additional environment variables of the trials.
        folder: Directory for the files of trials.
        count: Maximum number of trials; None leaves the end to W&B.
        after_trial: Function that is called with each ended trial.
    """

    def __init__(
        self,
        agents: Sequence[tuple[SweepAgentClient, bytes]],
        *,
        environment: Mapping[str, str],
        folder: Path,
        count: int | None,
        after_trial: Callable[[Trial], None] | None,
    ) -> None:
        self.trials: list[Trial] = []
        self._agents = [_AgentState(wandb, work) for wandb, work in agents]
        self._environment = environment
        self._folder = folder
        self._count = count
        self._after_trial = after_trial
        self._limit = int(os.environ.get("WANDB_AGENT_MAX_INITIAL_FAILURES", str(MAX_INITIAL_FAILURES)))
        self._signals: list[int] = []

    def run(self) -> None:
        """Run trials until W&B has no more or the count is reached.

        SIGINT, SIGTERM and SIGHUP are sent to the trials. A second signal kills the trials.

        Raises:
            KeyboardInterrupt: SIGINT arrived.
            SystemExit: SIGTERM or SIGHUP arrived. The code is 128 plus the number of the signal.
            SweepError: All first trials have failed.
        """
        with self._signals_caught():
            try:
                while not self._is_over():
                    for agent in self._agents:
                        self._step(agent)
                    time.sleep(AGENT_POLL_INTERVAL)
            finally:
                self._terminate_trials()
        if self._signals:
            number = self._signals[0]
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    def _is_over(self) -> bool:
        goes_on = any(agent.trial or not self._is_finished(agent) for agent in self._agents)
        return bool(self._signals) or not goes_on

    def _is_finished(self, agent: _AgentState) -> bool:
        return agent.is_done or (self._count is not None and len(self.trials) >= self._count)

    def _step(self, agent: _AgentState) -> None:
        if agent.process and agent.process.poll() is not None:
            self._finish_trial(agent)
        if agent.trial is None and agent.queue and not self._is_finished(agent):
            self._start(agent, agent.queue.pop(0))
        if agent.trial is None and self._is_finished(agent):
            return  # a query would assign a trial that this agent does not run
        if time.monotonic() >= agent.last_query + HEARTBEAT and not self._signals:
            agent.last_query = time.monotonic()
            self._execute_commands(agent)

    def _ask(self, agent: _AgentState) -> list[dict[str, Any]]:
        """Return W&B's commands for an agent; none if the query fails."""
        try:
            commands = agent.wandb.ask(agent.active)
        except Exception as error:  # noqa: BLE001  # wandb raises several classes
            if type(error).__name__ == "SweepNotFoundError":
                logger.warning("the sweep was deleted: trials that are going on end, no further one is started")
                agent.is_done = True
            elif not agent.is_cut_off:
                agent.is_cut_off = True
                logger.warning("W&B does not say what to try next: %s; asking on", format_exception(error))
            return []
        agent.is_cut_off = False
        return commands

    def _execute_commands(self, agent: _AgentState) -> None:
        for command in self._ask(agent):
            kind, run_id = command.get("type"), str(command.get("run_id"))
            if kind in {"run", "resume"}:
                values = {name: entry.get("value") for name, entry in command["args"].items()}
                agent.queue.append(Trial(run_id, values))
            elif kind == "stop":
                agent.queue = [trial for trial in agent.queue if trial.run_id != run_id]
                if agent.trial and agent.trial.run_id == run_id:
                    self._ask_to_stop(agent)
            elif kind == "exit":
                agent.is_done = True
                agent.queue.clear()
                if agent.trial:
                    self._ask_to_stop(agent)
        if agent.trial is None and agent.queue:
            self._start(agent, agent.queue.pop(0))

    def _start(self, agent: _AgentState, trial: Trial) -> None:
        import yaml

        agent.parameters = self._folder / f"config-{trial.run_id}.yaml"
        agent.parameters.parent.mkdir(parents=True, exist_ok=True)
        stop_request_file(agent.parameters).unlink(missing_ok=True)
        values = {name: {"value": value} for name, value in trial.parameters.items()}
        agent.parameters.write_text(yaml.safe_dump({"wandb_version": 1, **values}, sort_keys=False), encoding="utf-8")
        own = {"WANDB_RUN_ID": trial.run_id, "WANDB_SWEEP_PARAM_PATH": str(agent.parameters)}
        logger.info("trial %s: %s", trial.run_id, trial.parameters)
        run_trial = functools.partial(run_trial_process, agent.work)
        agent.process = run_in_child(run_trial, variables={**self._environment, **own})
        agent.trial = trial
        self.trials.append(trial)

    def _ask_to_stop(self, agent: _AgentState) -> None:
        assert agent.trial is not None  # noqa: S101  # the callers check for a trial
        if not agent.trial.stopped:
            agent.trial.stopped = True
            stop_request_file(agent.parameters).touch()
            logger.info("W&B ends trial %s early: its training stops after this epoch", agent.trial.run_id)

    def _finish_trial(self, agent: _AgentState) -> None:
        """Record the exit code of a trial. Raise :class:`SweepError` if all first trials have failed."""
        assert agent.trial is not None  # noqa: S101  # an agent with a process has a trial
        assert agent.process is not None  # noqa: S101
        trial, agent.trial = agent.trial, None
        trial.exit_code, agent.process = agent.process.returncode, None
        stop_request_file(agent.parameters).unlink(missing_ok=True)
        agent.last_query = -HEARTBEAT  # query for the next trial at once
        if trial.exit_code:
            logger.warning("trial %s has failed with exit code %d", trial.run_id, trial.exit_code)
        if self._after_trial:
            self._after_trial(trial)
        exit_codes = [other.exit_code for other in self.trials if other.exit_code is not None]
        if len(exit_codes) >= self._limit and all(exit_codes):
            msg = (
                f"all of the first {len(exit_codes)} trials have failed, what they printed says why; "
                "WANDB_AGENT_MAX_INITIAL_FAILURES is the number that may"
            )
            raise SweepError(msg)

    # The end

    @contextlib.contextmanager
    def _signals_caught(self) -> Iterator[None]:
        """Collect signals instead of ending. Python allows handlers in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {number: signal.getsignal(number) for number in SIGNALS}
        replaced_handlers = {
            number: handler for number, handler in handlers.items() if handler not in {signal.SIG_IGN, None}
        }
        for number in replaced_handlers:  # nohup ignores SIGHUP
            signal.signal(number, lambda caught, _: self._signals.append(caught))
        try:
            yield
        finally:
            for number, handler in replaced_handlers.items():
                signal.signal(number, handler)

    def _terminate_trials(self) -> None:
        """Send the signal to the running trials, and wait for their end."""
        agents = [agent for agent in self._agents if agent.process]
        number = self._signals[0] if self._signals else signal.SIGTERM
        for agent in agents:
            assert agent.process is not None  # noqa: S101  # filtered above
            with contextlib.suppress(ProcessLookupError):
                if number == signal.SIGINT:  # a terminal sends Ctrl-C to all processes of the trial, too
                    os.killpg(agent.process.pid, number)
                else:  # the trial's launcher ends the other processes
                    agent.process.send_signal(signal.SIGTERM)
        if agents:
            trials = pluralize(len(agents), "trial")
            logger.warning("waiting for %s to end; a second signal kills what is left", trials)
        deadline = time.monotonic() + TERMINATION_TIMEOUT
        while any(agent.process and agent.process.poll() is None for agent in agents):
            if time.monotonic() > deadline or len(self._signals) > 1:
                for agent in agents:
                    _kill(agent.process)
            time.sleep(AGENT_POLL_INTERVAL)
        for agent in agents:
            if agent.trial and agent.process:
                agent.trial.exit_code = agent.process.returncode


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    """Kill a trial's processes except those that finish its run."""
    with contextlib.suppress(psutil.Error):
        trial = psutil.Process(process.pid if process else -1)
        for process_to_kill in [trial, *trial.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                if (
                    SERVICE_PROCESS_MODULE not in process_to_kill.cmdline()
                    and "wandb-core" not in process_to_kill.name()
                ):
                    process_to_kill.kill()
