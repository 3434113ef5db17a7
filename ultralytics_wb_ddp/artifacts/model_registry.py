"""Link checkpoints to collections of the model registry."""

from __future__ import annotations

import threading
from typing import Any

from ultralytics_wb_ddp.config.names import link_problem
from ultralytics_wb_ddp.utils.logging import format_exception, logger


def link_checkpoint(run: Any, artifact: Any, target: str, *, timeout: float = 120.0) -> Any:
    """Link a logged artifact to a registry collection or a project's portfolio.

    W&B links only artifacts that are uploaded completely, so this function waits for the upload. It never raises: it
    logs errors as warnings.

    Args:
        run: The ``wandb.Run`` that has logged the artifact, still open.
        artifact: The ``wandb.Artifact``, as ``run.log_artifact`` returned it.
        target: ``wandb-registry-REGISTRY/COLLECTION`` or ``PROJECT/PORTFOLIO``, with ``ENTITY/`` before it if needed.
            W&B creates a missing collection.
        timeout: Seconds to wait for the upload and the link.

    Returns:
        The linked ``wandb.Artifact``; None if it could not be linked in time.
    """
    if run.disabled:
        return None
    name = artifact.name.partition(":")[0]
    if problem := link_problem(target):
        logger.warning("artifact %s is not linked to %r: %s", name, target, problem)
        return None
    if run.offline:
        logger.warning(
            "artifact %s is not linked to %r: W&B does that online only; when the run is sent: %s",
            name,
            target,
            _command(run, name, target),
        )
        return None
    linked, trouble = _link(run, artifact, target, timeout)
    if trouble:
        logger.warning(
            "artifact %s is not linked to %r: %s; check that it exists and takes this type, and that this API key may "
            "link to it, then: %s",
            name,
            target,
            trouble,
            _command(run, name, target),
        )
    return linked


def _link(run: Any, artifact: Any, target: str, timeout: float) -> tuple[Any, str | None]:
    """Link in a thread, because W&B retries for minutes without a server.

    Return the linked artifact or None, and the text of the error or None.
    """
    linked: list[Any] = []
    trouble = [f"it took longer than {timeout:g} s"]

    def link() -> None:
        try:
            artifact.wait(timeout=timeout)
            linked.append(run.link_artifact(artifact, target))
        except Exception as error:  # noqa: BLE001  # no error of wandb ends the training
            trouble[:] = [format_exception(error)]

    thread = threading.Thread(target=link, name="link-checkpoint", daemon=True)
    thread.start()
    thread.join(timeout)
    return (linked[0], None) if linked else (None, trouble[0])


def _command(run: Any, name: str, target: str) -> str:
    path = "/".join(part for part in (run.entity, run.project, name) if part)
    return f"python -c \"import wandb; wandb.Api().artifact('{path}:latest').link('{target}')\""
