"""W&B's client, server and files: the only room that imports wandb's internals."""
