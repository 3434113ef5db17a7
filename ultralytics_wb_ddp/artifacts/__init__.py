"""Files of a training as W&B artifacts: checkpoints, inputs, S3 references, registry links."""
