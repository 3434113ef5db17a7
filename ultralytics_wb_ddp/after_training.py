"""What a manager does with the results of a training: references to S3, downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["AfterTraining"]


class AfterTraining:
    """The part of :class:`WandbManager` that deals with results."""

    run: Any

    def log_s3_artifact(
        self,
        s3_path: str,
        artifact_name: str,
        artifact_type: str = "model",
        *,
        aliases: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        checksum: bool = True,
        max_objects: int = 10_000,
        strict: bool = False,
    ) -> Any:
        """Log an artifact that refers to an object in S3, or to all objects below a prefix, without copying it.

        What it refers to is read first: it must exist, and the reference records size, ETag and, in a versioned
        bucket, the version of each object. Where S3 cannot be asked (no boto3, no credentials, no answer) the
        reference is recorded without them. Anything else that is wrong leaves the run without the artifact. A message
        says so; only with ``strict`` is it an error.

        Args:
            s3_path: ``s3://bucket/key`` of an object or a prefix; ``?versionId=...`` names a version of an object.
            artifact_name: Name of the artifact.
            artifact_type: Type of the artifact.
            aliases: Aliases of the artifact.
            metadata: Metadata of the artifact.
            checksum: Read size, ETag and version. Without, one entry names the place, also where it cannot be read;
                wandb's own download refuses such an entry.
            max_objects: How many objects a prefix may have.
            strict: Raise where the reference cannot be recorded with all that ``checksum`` asks for.

        Returns:
            The ``wandb.Artifact``; None when nothing was recorded.

        Raises:
            S3Error: With ``strict``: there is nothing at the path, or S3 cannot be asked.
            ConfigurationError: With ``strict``: W&B would refuse name, type, alias or metadata.
        """
        if not self._needs_open_run("log_s3_artifact"):
            return None
        from ultralytics_wb_ddp.s3_references import log_s3_reference

        return log_s3_reference(
            self.run,
            s3_path,
            artifact_name,
            artifact_type,
            aliases=aliases,
            metadata=metadata,
            checksum=checksum,
            max_objects=max_objects,
            strict=strict,
        )

    def _needs_open_run(self, method: str) -> bool:
        raise NotImplementedError
