"""All run modes and rank scopes in real trainings of two processes, and on two nodes of two, against a real client."""

from __future__ import annotations

import pytest
from measures import prove

from conftest import EPOCHS, Job, RunJob, RunOnline

EVERY_RANK = """
import json
from ultralytics_wb_ddp import get_wandb_run
def note(trainer):
    run = get_wandb_run()
    facts = {"run": run and run.id, "wandb": "wandb" in sys.modules}
    open(f"rank-{os.environ['RANK']}.json", "w").write(json.dumps(facts))
model.add_callback("on_train_epoch_end", note)
"""


def test_new_global_makes_a_run_of_each_rank(run_online: RunOnline) -> None:
    job, server = run_online(
        EVERY_RANK + 'add_wandb_callback(model, project="demo", run_mode="new")\nmodel.train(**TWO_PROCESSES)\n'
    )

    runs = {run.id: run for run in server.runs}
    print(runs.keys(), job.output)
    base = min(runs, key=len).removesuffix("-rank-0")
    assert runs.keys() == {f"{base}-rank-0", f"{base}-rank-1"}
    for rank in (0, 1):
        run = runs[f"{base}-rank-{rank}"]
        assert (run.fields["groupName"], run.fields["displayName"], run.state) == (base, f"rank-{rank}", "finished")


def test_shared_global_has_every_ranks_rows_in_one_run(run_online: RunOnline) -> None:
    job, server = run_online(
        EVERY_RANK + 'add_wandb_callback(model, project="demo", run_mode="shared")\nmodel.train(**TWO_PROCESSES)\n'
    )
    print(job.output)
    (run,) = server.runs
    for row in run.history:
        print({k: v for k, v in row.items() if not isinstance(v, dict)})
    print(run.state, run.sessions, run.streams.keys(), run.values.keys())
    assert 0
