"""References to S3 that are logged and downloaded again, and references without boto3."""

from __future__ import annotations

import sys
from pathlib import Path

from scenarios.calls import run_named

CFG = {"wandb": {"project": "demo"}}


def content_of(artifact: str) -> dict[str, str]:
    """Download an artifact, and return its files."""
    import wandb

    folder = Path(wandb.Api().artifact(f"team/demo/{artifact}").download(root=artifact.replace(":", "-")))
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def log_change_and_download(bucket: str, first_version: str) -> None:
    import boto3

    from ultralytics_wb_ddp import WandbManager

    file = f"s3://{bucket}/runs/1/best.pt"
    with WandbManager(CFG, "job") as manager:
        manager.log_s3_artifact(f"s3://{bucket}/runs/1", "folder", "dataset", metadata={"rows": 1}).wait()
        manager.log_s3_artifact(file, "model", aliases=["best"]).wait()
        manager.log_s3_artifact(f"{file}?versionId={first_version}", "older").wait()
        boto3.client("s3").put_object(Bucket=bucket, Key="runs/1/best.pt", Body=b"third")
        assert content_of("folder:latest") == {"best.pt": "second", "empty": ""}
        assert content_of("model:best") == {"best.pt": "second"}
        assert content_of("older:latest") == {"best.pt": "first"}


def log_without_boto3() -> None:
    sys.modules["boto3"] = sys.modules["botocore"] = None  # type: ignore[assignment]  # as if they were not installed
    from ultralytics_wb_ddp import S3Error, WandbManager

    with WandbManager(CFG, "job") as manager:
        manager.log_s3_artifact("s3://bucket/runs/1/best.pt", "final_model")
        try:
            manager.log_s3_artifact("s3://bucket/best.pt", "other", strict=True)
        except S3Error as error:
            print("raised", error)


if __name__ == "__main__":
    run_named(globals())
