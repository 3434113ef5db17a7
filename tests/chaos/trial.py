"""A run of the campaign: the lives of a job, the commands that its messages name, and the evidence."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from wandb_server import WandbServer

from chaos import commands, usages
from chaos.disk import SmallDisk
from chaos.evidence import COMPANION, Command, Life, Outcome, read_marks, read_results
from chaos.life import Job, live, own_environment
from chaos.plan import Plan, Strike
from chaos.timeline import Timeline

API_KEY = "5ec2e7" * 6 + "cafe"  # 40 characters that are found again
NAME = "train"
NOISE = 3.0  # times that a life may take longer because the machine has other work
END_OF_RUN = 30.0  # seconds that W&B's end of a run may take, on top


class Trials:
    """Runs plans, and knows how long undisturbed lives take.

    Args:
        data: Dataset of all trainings.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self._usual: dict[tuple[str, str], Timeline] = {}

    def usual(self, plan: Plan, campaign: Path) -> Timeline:
        """Return the course of an undisturbed life of a plan's usage; the first call measures it."""
        place = plan.usage, plan.processes
        folder = campaign / f"undisturbed-{'-'.join(place).replace(' ', '-')}"
        known = folder / "timeline.json"
        if place not in self._usual and not known.exists():
            with WandbServer() as server:
                server.api_keys = {API_KEY}
                job = self._job(plan, folder, server, NAME)
                life = live(job, 1, None, server, None, 300.0)
            if life.exit_code != 0:
                message = f"an undisturbed life of {plan.place} has failed, see {folder}: {life.output[-2000:]}"
                raise RuntimeError(message)
            Timeline.of(read_marks(job.marks), life.begun, life.seconds).write(known)
        return self._usual.setdefault(place, Timeline.read(known))

    def run(self, plan: Plan, directory: Path) -> Outcome:
        """Run a plan in a directory and return what it has left."""
        usual = self.usual(plan, directory.parent)
        with WandbServer() as server, ExitStack() as stack:
            server.api_keys = {API_KEY}
            server.backend.count_lag = plan.count_lag
            job = self._job(plan, directory, server, NAME)
            on_disk = [strike for strike in plan.strikes if strike.kind.on_small_disk]
            if on_disk:
                read_only = any(strike.kind.from_start for strike in on_disk)
                job.disk = stack.enter_context(SmallDisk(directory, read_only=read_only))
            outcome = Outcome(plan, directory, [])
            beside = self._start_companion(plan, directory, server) if plan.companion else None
            for number, strike in enumerate(plan.lives, start=1):
                if number > 1:
                    time.sleep(plan.restart_after)
                outcome.lives.append(live(job, number, strike, server, usual, _bound(usual.seconds, strike, plan)))
                mend(server)
                if job.disk:
                    job.disk.empty()
                if plan.sends_first:
                    self._send_named(outcome, server, job.disk)
            if beside:
                outcome.companion = beside()
            outcome.marks = read_marks(job.marks)
            outcome.results = read_results(directory / NAME / "results.csv")
            best = directory / NAME / "weights" / "best.pt"
            outcome.checkpoint_size = best.stat().st_size if best.exists() else None
            self._send(outcome, server, job.disk)
            outcome.runs = server.runs
            outcome.received = server.received
        return outcome

    def _job(self, plan: Plan, directory: Path, server: WandbServer, name: str) -> Job:
        for folder in ("home", "yolo"):
            (directory / folder).mkdir(parents=True, exist_ok=True)
        usages.write(directory, name, plan.usage, plan.processes, by_hand=plan.by_hand)
        environment = {**_online(server), **usages.environment(plan.usage)}
        if not plan.online:
            environment["WANDB_MODE"] = "offline"
        if plan.sends_often:
            environment["WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL"] = "1"
        return Job(name, directory, plan.usage, plan.processes, self.data, environment)

    def _start_companion(self, plan: Plan, directory: Path, server: WandbServer) -> Callable[[], Life]:
        """Start another training beside the first life and return a function that waits for it."""
        usages.write(directory, COMPANION, "C", "1")
        named = {"WANDB_RUN_ID": COMPANION, "WANDB_PROJECT": usages.PROJECT}
        job = Job(COMPANION, directory, "C", "1", self.data, {**_online(server), **named})
        lives: list[Life] = []
        bound = _bound(self._usual[plan.usage, plan.processes].seconds, plan.strikes[0], plan)
        thread = threading.Thread(target=lambda: lives.append(live(job, 1, None, server, None, bound)))
        thread.start()

        def wait() -> Life:
            thread.join()
            return lives[0]

        return wait

    def _send_named(self, outcome: Outcome, server: WandbServer, disk: SmallDisk | None) -> None:
        """Call the commands that the messages have named so far, each once."""
        logs = [*(life.output for life in outcome.lives), *([outcome.companion.output] if outcome.companion else [])]
        late = outcome.directory / NAME / "output.log"  # of workers whose launcher is gone
        logs += [late.read_text(encoding="utf-8", errors="replace")] if late.exists() else []
        called = [command.words for command in outcome.commands]
        for words in commands.named_in("\n".join(logs)):
            if words not in called:
                outcome.commands.append(self._call(words, outcome, server, disk))

    def _send(self, outcome: Outcome, server: WandbServer, disk: SmallDisk | None) -> None:
        """Call the commands that the messages have named, then those of the doctor, then send what is still unsent."""
        self._send_named(outcome, server, disk)
        if (outcome.directory / NAME).exists():
            doctor = self._call(["ultralytics-wb-ddp", "doctor", "--training", NAME], outcome, server, disk)
            for words in commands.named_in(doctor.output):
                outcome.commands.append(self._call(words, outcome, server, disk))
        has_no_end = any(run.exit_code is None for run in server.runs if run.id != COMPANION)
        outcome.unnamed = commands.unsent(outcome.directory, online=has_no_end)
        for folder in outcome.unnamed:
            words = ["ultralytics-wb-ddp", "sync", folder]
            outcome.commands.append(self._call(words, outcome, server, disk))

    def _call(self, words: list[str], outcome: Outcome, server: WandbServer, disk: SmallDisk | None) -> Command:
        environment = {**own_environment(outcome.directory, self.data), **_online(server)}
        return commands.run(words, outcome.directory, environment, disk.prefix if disk else [])


def mend(server: WandbServer) -> None:
    """Undo all faults of a server."""
    server.faults.clear()
    server.down()
    server.up()
    server.api_keys = {API_KEY}


def _online(server: WandbServer) -> dict[str, str]:
    return {**server.environment, "WANDB_API_KEY": API_KEY}


def _bound(usual: float, strike: Strike | None, plan: Plan) -> float:
    """Return the seconds that a life may take: the undisturbed one, and what its fault allows."""
    allowance = 0.0
    if strike:
        allowance = strike.kind.allowance + strike.details.get("seconds", 0.0) * (12 if "every" in strike.fault else 1)
    beside = usual if plan.companion else 0.0
    return usual * NOISE + beside + END_OF_RUN + allowance
