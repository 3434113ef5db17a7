"""A small W&B backend on loopback that the real client talks to, for tests that ask it what arrived.

Where to read what a W&B client says to its server, and why:

* ``listener``: HTTP: what is sent where, API keys
* ``runs``: how a run is opened, resumed, described; the file stream, by which its rows come
* ``artifacts``, ``registry``, ``sweeps``, ``public_api``: the other things that are asked by GraphQL
* ``faults``: what may go wrong on the way
* ``store``: what is kept
"""

from wandb_server.faults import Fault, Faults, Request
from wandb_server.server import API_KEY, WandbServer
from wandb_server.store import StoredArtifact, StoredRun, StoredSweep

__all__ = ["API_KEY", "Fault", "Faults", "Request", "StoredArtifact", "StoredRun", "StoredSweep", "WandbServer"]
