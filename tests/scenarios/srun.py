"""A stand-in for srun: it starts the tasks of a step with the script of its standard input.

It ends with the highest exit code of the tasks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TASK = Path(__file__).with_name("slurm_task.py")


def main() -> None:
    Path("step.py").write_text(sys.stdin.read(), encoding="utf-8")
    number = int(os.environ["SLURM_STEP_NUM_TASKS"])
    tasks = []
    for task in range(number):
        place = {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task), "SLURM_STEP_TASKS_PER_NODE": str(number)}
        environment = {**os.environ, "SLURM_NODEID": "0", **place}
        tasks.append(subprocess.Popen([sys.executable, str(TASK), "run_step", "step.py"], env=environment))
    Path("tasks").write_text(" ".join(str(task.pid) for task in tasks), encoding="utf-8")
    codes = [task.wait() for task in tasks]
    sys.exit(max(128 - code if code < 0 else code for code in codes))


if __name__ == "__main__":
    main()
