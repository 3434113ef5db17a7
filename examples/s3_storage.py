"""Keep checkpoints and results of a training in S3; the W&B run refers to them.

Needs the extra "s3", credentials as boto3 takes them, and a bucket; AWS_ENDPOINT_URL_S3 names a service of your own.

    python examples/s3_storage.py s3://bucket/yolo

Without GPUs and an account at W&B, in two processes on generated images:

    WANDB_MODE=offline python examples/s3_storage.py s3://bucket/yolo --cpu
"""

import sys

from ultralytics import YOLO

from ultralytics_wb_ddp import WandbManager, add_wandb_callback, upload_to_s3

place = next((word for word in sys.argv if word.startswith("s3://")), None)
if place is None:
    sys.exit("say where: python examples/s3_storage.py s3://bucket/yolo")
weights, settings = "yolo11n.pt", {"data": "coco8.yaml", "epochs": 100, "device": [0, 1, 2, 3]}
if "--cpu" in sys.argv:
    from ultralytics_wb_ddp.testing.cpu_trainers import cpu_settings

    weights, settings = "yolo11n.yaml", cpu_settings()

with WandbManager({"wandb": {"project": "demo"}}, job_name="s3") as manager:
    model = YOLO(weights)
    # Each logged checkpoint goes to s3://bucket/yolo/checkpoints, and W&B gets a reference with its checksum.
    add_wandb_callback(model, checkpoints="best+last", checkpoint_store=f"{place}/checkpoints")
    manager.prepare_for_training()
    model.train(**settings)
    manager.resume_after_training()

    # Whatever else the training leaves, here a file: brought there, verified, referred to as an artifact.
    results = upload_to_s3(model.trainer.save_dir / "results.csv", f"{place}/results.csv")
    manager.log_s3_artifact(results, "results", artifact_type="results")
