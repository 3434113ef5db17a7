"""The public API as a user writes it; nobody runs this file, mypy reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics_wb_ddp import (
    ConfigurationError,
    JobResult,
    Links,
    ParallelConfig,
    RankPlan,
    RunGroup,
    S3Error,
    Statistics,
    Sweep,
    SweepError,
    Topology,
    WandbCallback,
    WandbConfig,
    WandbManager,
    add_wandb_callback,
    callbacks,
    get_distributed_info,
    get_wandb_run,
    get_wandb_sweep_id,
    is_main_process,
    kfold,
    plan_rank,
    run_job,
    run_sweep,
    train_distributed,
    upload_to_s3,
    wandb_config,
)
from ultralytics_wb_ddp.testing import (
    CpuDDPTrainer,
    RecordedRun,
    cpu_settings,
    find_run_files,
    make_shapes_dataset,
    read_run,
)


def own_run(model: Any, run: Any) -> None:
    callback: WandbCallback = add_wandb_callback(model, run=run)
    add_wandb_callback(model, project="demo", tags=["a"], on_error="raise")
    for event, function in {**callbacks, **callback.callbacks}.items():
        model.add_callback(event, function)


def manager(cfg: Any) -> str | None:
    with WandbManager(cfg, job_name="job", experiment_group_name="exp") as job:
        job.save_config(cfg)
        job.save_training_artifacts("a.yaml", name="inputs", type="dataset")
        job.save_training_job_metadata({"cluster": "a"})
        job.prepare_for_training()
        run: Any = job.resume_after_training()
        run = job.resume_run()
        path: str = upload_to_s3("best.pt", "s3://bucket/key", progress=False)
        job.log_s3_artifact(
            path, "model", "model", aliases=["best"], metadata={"epoch": 1}, checksum=False, strict=True
        )
        url: str | None = job.wandb_url
        links: Links = job.links()
        print(links.run, links.nodes.get("worker-1"), Links.of_training("runs/detect/train").sync_command)
    by_hand = WandbManager(cfg, "job")
    run, url = by_hand.initialize()
    by_hand.finish(exit_code=1)
    logs = by_hand.download_logs("logs", format="parquet")
    print(logs.history.name if logs else S3Error("none"))
    return url or str(run)


def cross_validation(cfg: Any) -> float | None:
    folds: list[Path] = kfold("coco8.yaml", 5, "folds", seed=1)
    group: RunGroup
    with WandbManager.group(cfg, "5-fold", runs=len(folds), metrics=["metrics/*"], resume=True) as group:
        for number, manager in group:
            with manager:
                print(folds[number], manager.run.id)
    score: Statistics = group.statistics["metrics/mAP50(B)"]
    return score.std


@wandb_config(project="demo", tags=["a"])
def in_a_block(model: Any, epochs: int) -> WandbCallback:
    with wandb_config(run_mode="new", rank_scope="worker"):
        callback: WandbCallback = add_wandb_callback(model)
    model.train(epochs=epochs)
    return callback


def job(cfg: Any) -> str | None:
    result: JobResult = run_job(cfg, name="nightly")
    return result.url or str(result.save_dir / "weights") or result.run_id


def one_trial(parameters: dict[str, Any]) -> None:
    print(parameters["lr0"], get_wandb_sweep_id())


def a_sweep(definition: dict[str, Any]) -> list[str]:
    done: Sweep = run_sweep(definition, one_trial, count=4, agents=2, devices=[0, 1])
    try:
        run_sweep(done.path, "job.yaml", count=1)
    except SweepError as error:
        print(error)
    return [done.url, *(trial.run_id for trial in done.trials if not trial.exit_code and not trial.stopped)]


def facts() -> bool:
    topology = Topology.from_env({"RANK": "0"})
    in_a_block(None, epochs=3).check(None)
    config: WandbConfig = WandbConfig.from_cfg({"wandb": {"project": "demo"}})
    return is_main_process() and (topology is None or topology.rank == 0) and config.keep_open


def ranks() -> str | None:
    plan: RankPlan | None = plan_rank(Topology.from_env(), "new", "worker", "base")
    info: dict[str, Any] = get_distributed_info()
    run: Any = get_wandb_run()
    return plan.run_id if plan and plan.primary and info["is_main_process"] and run else None


def several_nodes(model: Any, cfg: Any) -> bool:
    parallel: ParallelConfig = ParallelConfig.from_cfg(cfg)
    metrics: Any = train_distributed(model, parallel=parallel, data="coco8.yaml", epochs=100)
    train_distributed(model, parallel=cfg, trainer=CpuDDPTrainer, device="0,1")
    return parallel.is_distributed() and parallel.resolve({"RANK": "0"})["MASTER_PORT"] == str(metrics)


def tests_of_a_user(model: Any) -> list[float]:
    model.train(trainer=CpuDDPTrainer, device="0,1", data=str(make_shapes_dataset("shapes", images=8, classes=2)))
    model.train(**cpu_settings("0,1,2"))
    runs: list[RecordedRun] = [read_run(file) for file in find_run_files("wandb")]
    return [row["train/box_loss"] for run in runs for row in run.rows("train/box_loss")]


def wrong(error: ConfigurationError) -> ValueError:
    return error
