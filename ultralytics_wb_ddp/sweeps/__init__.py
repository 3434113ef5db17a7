"""W&B sweeps whose trials train on one or several GPUs."""
