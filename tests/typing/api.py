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
    RankScope,
    RestoreError,
    RunGroup,
    RunMode,
    S3Error,
    Statistics,
    Sweep,
    SweepError,
    Topology,
    TrainingState,
    WandbCallback,
    WandbConfig,
    WandbManager,
    __version__,
    add_wandb_callback,
    autolog,
    callbacks,
    get_distributed_info,
    get_wandb_run,
    get_wandb_sweep_id,
    is_main_process,
    kfold,
    plan_rank,
    restore_checkpoint,
    run_job,
    run_sweep,
    train_distributed,
    upload_to_s3,
    wandb_config,
    wandb_init,
)
from ultralytics_wb_ddp.testing.cpu_trainers import (
    CpuDDPClassificationTrainer,
    CpuDDPMixin,
    CpuDDPOBBTrainer,
    CpuDDPPoseTrainer,
    CpuDDPSegmentationTrainer,
    CpuDDPTrainer,
    cpu_settings,
)
from ultralytics_wb_ddp.testing.shapes_dataset import make_shapes_dataset
from ultralytics_wb_ddp.wandb_client.run_file import RecordedArtifact, RecordedRun, find_run_files, read_run


def own_run(model: Any, run: Any) -> None:
    callback: WandbCallback = add_wandb_callback(model, run=run)
    add_wandb_callback(model, project="demo", tags=["a"], on_error="raise")
    for event, function in {**callbacks, **callback.callbacks}.items():
        model.add_callback(event, function)


def all_models() -> None:
    autolog(project="demo", tags=["a"], checkpoints="none")
    autolog(disable=True)


def what_a_type_checker_refuses(model: Any, cfg: Any) -> None:
    add_wandb_callback(model, projct="demo")  # type: ignore[call-arg]
    add_wandb_callback(model, mode="on")  # type: ignore[arg-type]
    autolog(projct="demo")  # type: ignore[call-arg]
    WandbCallback(checkpoints="last")  # type: ignore[arg-type]
    wandb_config(keep_open="yes")  # type: ignore[arg-type]
    WandbManager.group(cfg, "5-fold", 5, metric="mAP50")  # type: ignore[call-arg]
    wandb_init(run_mode="every")  # type: ignore[call-overload]


def program(run_mode: RunMode, rank_scope: RankScope) -> int:
    @wandb_init(
        project="demo", run_mode=run_mode, rank_scope=rank_scope, config={"lr": 0.1}, id="mine", api_key="secret"
    )
    def train(steps: int) -> int:
        run: Any = get_wandb_run()
        return steps if run else 0

    @wandb_init
    async def train_later(steps: int) -> int:
        return steps

    print(train_later)
    with wandb_init(strategy="all") as run:
        run.log({"loss": train(3)})
    return train(3)


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
        print(links.project, links.group, links.sweep, links.as_dict()["run"])
        print(job.cfg, job.job_name, job.experiment_group_name, job.config.notes)
    by_hand = WandbManager(cfg, "job")
    run, url = by_hand.initialize()
    by_hand.finish(exit_code=1)
    logs = by_hand.download_logs("logs", format="parquet")
    print(logs.history.name if logs else S3Error("none"))
    return url or str(run)


def cross_validation(cfg: Any) -> float | None:
    folds: list[Path] = kfold("coco8.yaml", 5, "folds", seed=1)
    group: RunGroup[WandbManager]
    with WandbManager.group(cfg, "5-fold", runs=len(folds), metrics=["metrics/*"], resume=True) as group:
        for number, manager in group:
            with manager:
                print(folds[number], manager.run.id)
    score: Statistics = group.statistics["metrics/mAP50(B)"]
    print(group.links().group, score.n, score.mean, score.min + score.max)
    return score.std


@wandb_config(project="demo", tags=["a"])
def in_a_block(model: Any, epochs: int) -> WandbCallback:
    with wandb_config(run_mode="new", rank_scope="worker"):
        callback: WandbCallback = add_wandb_callback(model)
    model.train(epochs=epochs)
    return callback


def job(cfg: Any) -> str | None:
    result: JobResult = run_job(cfg, name="nightly")
    print(result.metrics, result.trained)
    return result.url or str(result.save_dir / "weights") or result.run_id


def start_again(training: Path) -> tuple[Path, bool]:
    state: TrainingState = TrainingState.of(training)
    print(state, state.directory.name, state.trained, state.epochs, state.run_id, state.is_run_open)
    if state.is_over and state.finish_run(checkpoints="best"):
        return state.checkpoint, False
    return state.checkpoint, state.can_be_resumed


def one_trial(parameters: dict[str, Any]) -> None:
    print(parameters["lr0"], get_wandb_sweep_id())


def a_sweep(definition: dict[str, Any]) -> list[str]:
    done: Sweep = run_sweep(definition, one_trial, count=4, agents=2, devices=[0, 1])
    try:
        run_sweep(done.path, "job.yaml", count=1)
    except SweepError as error:
        print(error)
    print(done.entity, done.project, done.id)
    return [done.url, *(trial.run_id for trial in done.trials if not trial.exit_code and not trial.stopped)]


def facts() -> bool:
    topology = Topology.from_env({"RANK": "0"})
    in_a_block(None, epochs=3).check(None)
    config: WandbConfig = WandbConfig.from_cfg({"wandb": {"project": "demo"}})
    if topology:
        print(topology.local_rank, topology.world_size, topology.local_world_size)
        print(topology.worker_index, topology.num_workers)
    return is_main_process() and (topology is None or topology.rank == 0) and config.keep_open


def all_options() -> WandbConfig:
    of_the_run = WandbConfig(
        project="demo",
        entity="team",
        name="baseline",
        group="exp",
        job_type="train",
        tags=("a", "b"),
        notes="",
        mode="online",
        dir="out",
        id="abc",
        api_key=None,
        keep_open=True,
    )
    of_the_training = WandbConfig(
        project="demo",
        run_mode="auto",
        rank_scope="global",
        strategy=None,
        rank_metrics=True,
        batch_interval=10,
        inputs=True,
        data_uri="s3://bucket/shapes",
        mistakes=16,
        checkpoints="best+last",
        checkpoint_interval=5,
        checkpoint_keep=2,
        checkpoint_ttl=30,
        checkpoint_store="s3://bucket/checkpoints",
        link="wandb-registry-model/shapes",
        on_error="warn",
        on_launcher_lost="stop",
        init_timeout=30.0,
        finish_timeout=120.0,
        flush_interval=1.0,
    )
    return of_the_run if of_the_run.project == of_the_training.project else of_the_training


def ranks() -> str | None:
    plan: RankPlan | None = plan_rank(Topology.from_env(), "new", "worker", "base")
    info: dict[str, Any] = get_distributed_info()
    run: Any = get_wandb_run()
    print(plan and (plan.group, plan.label, plan.mode))
    return plan.run_id if plan and plan.primary and info["is_main_process"] and run else None


def several_nodes(model: Any, cfg: Any) -> bool:
    given = ParallelConfig(
        world_size=8,
        rank=0,
        master_addr="node-0",
        master_port=29500,
        backend="nccl",
        find_unused_parameters=False,
        output_device=0,
    )
    parallel: ParallelConfig = given if cfg is None else ParallelConfig.from_cfg(cfg)
    parallel = ParallelConfig.from_argument(parallel)
    metrics: Any = train_distributed(model, parallel=parallel, data="coco8.yaml", epochs=100)
    train_distributed(model, parallel=cfg, trainer=CpuDDPTrainer, device="0,1")
    return parallel.is_distributed() and parallel.resolve({"RANK": "0"})["MASTER_PORT"] == str(metrics)


class TrainerOfAUser(CpuDDPMixin):
    pass


def tests_of_a_user(model: Any) -> list[float]:
    model.train(trainer=CpuDDPTrainer, device="0,1", data=str(make_shapes_dataset("shapes", images=8, classes=2)))
    for trainer in (CpuDDPClassificationTrainer, CpuDDPOBBTrainer, CpuDDPPoseTrainer, CpuDDPSegmentationTrainer):
        model.train(trainer=trainer)
    model.train(trainer=TrainerOfAUser)
    model.train(**cpu_settings("0,1,2"))
    runs: list[RecordedRun] = [read_run(file) for file in find_run_files("wandb")]
    artifacts: list[RecordedArtifact] = [artifact for run in runs for artifact in run.artifacts]
    print([(artifact.name, artifact.is_input, artifact.digest, artifact.entries) for artifact in artifacts])
    print([(run.state, run.console, run.summary, run.files, run.charts) for run in runs])
    return [row["train/box_loss"] for run in runs for row in run.rows("train/box_loss")]


def elsewhere() -> Path | None:
    print(__version__)
    try:
        return restore_checkpoint("team/demo/run", "there", data="shapes.yaml", alias="last")
    except RestoreError as error:
        print(error)
        return None


def wrong(error: ConfigurationError) -> ValueError:
    return error
