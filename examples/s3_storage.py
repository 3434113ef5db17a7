"""Keep checkpoints and results of a training in S3; the W&B run refers to them.

Needs the extra "s3", credentials for boto3, and a bucket; AWS_ENDPOINT_URL_S3 names another S3 service.

    python examples/s3_storage.py s3://bucket/yolo

Without GPUs and an account at W&B, in two processes on generated images:

    WANDB_MODE=offline python examples/s3_storage.py s3://bucket/yolo --cpu
"""

import sys

from ultralytics import YOLO

from ultralytics_wb_ddp import WandbManager, add_wandb_callback, upload_to_s3

prefix = next((argument for argument in sys.argv if argument.startswith("s3://")), None)
if prefix is None:
    sys.exit("give an S3 prefix: python examples/s3_storage.py s3://bucket/yolo")
weights, settings = "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100, "device": [0, 1, 2, 3]}
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    weights, settings = "yolo11n.yaml", cpu_settings()

with WandbManager({"wandb": {"project": "demo"}}, job_name="s3") as manager:
    model = YOLO(weights)
    # Each logged checkpoint is uploaded to s3://bucket/yolo/checkpoints, and W&B gets a reference with its checksum.
    add_wandb_callback(model, checkpoints="best+last", checkpoint_store=f"{prefix}/checkpoints")
    manager.prepare_for_training()
    model.train(**settings)
    manager.resume_after_training()

    # Upload and verify another file of the training, then log a reference to it as an artifact.
    results = upload_to_s3(model.trainer.save_dir / "results.csv", f"{prefix}/results.csv")
    manager.log_s3_artifact(results, "results", artifact_type="results")
