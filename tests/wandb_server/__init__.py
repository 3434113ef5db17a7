"""A small W&B backend on loopback that the real client talks to, for tests that ask it what arrived."""

from wandb_server.server import WandbServer
from wandb_server.store import StoredArtifact, StoredRun

__all__ = ["StoredArtifact", "StoredRun", "WandbServer"]
