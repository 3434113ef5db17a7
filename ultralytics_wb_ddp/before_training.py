"""What a manager stores with its run before the training: the job's config, its files, facts about it; no secrets."""

from __future__ import annotations

import json
import netrc
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.context import settings_around
from ultralytics_wb_ddp.names import inputs_of
from ultralytics_wb_ddp.plain import redact, to_plain
from ultralytics_wb_ddp.wrong_use import GivenOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ultralytics_wb_ddp.config import WandbConfig

__all__ = ["BeforeTraining"]

CONFIG_FILE = "configs/training-job-config.yaml"
METADATA_FILE = "training-job-metadata.json"


class BeforeTraining:
    """The part of :class:`WandbManager` that stores what a job begins with."""

    config: WandbConfig
    experiment_group_name: str | None
    run: Any

    def save_config(self, raw_cfg: Any) -> None:
        """Store a config as ``configs/training-job-config.yaml`` in the run's files.

        Secrets are replaced by ``[redacted]``: values of keys such as ``api_key``, ``token``, ``secret`` and
        ``password``, however deep, and the API key in use wherever it stands. Interpolations stay as they are written.

        Args:
            raw_cfg: An OmegaConf config, mapping, dataclass or namespace.
        """
        if self._needs_open_run("save_config"):
            from omegaconf import OmegaConf

            plain = redact(to_plain(raw_cfg), self._secrets())
            self._save_file(CONFIG_FILE, OmegaConf.to_yaml(OmegaConf.create(plain)))

    def save_training_artifacts(
        self,
        *paths: str | os.PathLike[str],
        name: str | None = None,
        type: str = "training-inputs",  # noqa: A002  # W&B's word
    ) -> Any:
        """Store files and folders, with the list of installed packages, as one artifact.

        Args:
            *paths: Files and folders; they are stored as they are, secrets included.
            name: Name of the artifact; by default ``run_<id>_training_inputs``.
            type: Type of the artifact.

        Returns:
            The ``wandb.Artifact``; None on a rank that is not the main process.

        Raises:
            FileNotFoundError: A path does not exist.
            ValueError: Two paths have the same name.
        """
        if not self._needs_open_run("save_training_artifacts"):
            return None
        from ultralytics_wb_ddp.artifacts import log_files

        return log_files(self.run, paths, name or inputs_of(self.run.id), type)

    def save_training_job_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Put facts about the job into the run's config under ``job``, and into ``training-job-metadata.json``.

        Args:
            metadata: Names and values, nested in any way; secrets are redacted as in :meth:`save_config`.
        """
        if self._needs_open_run("save_training_job_metadata"):
            plain = redact(to_plain(metadata), self._secrets())
            self.run.config.update({"job": plain}, allow_val_change=True)
            self._save_file(METADATA_FILE, json.dumps(plain, indent=2) + "\n")

    def _tell_settings_without_effect(self) -> None:
        """Name the settings that say something else than the run which is adopted, but for those of blocks around."""
        around = settings_around()
        given = {item.name: getattr(self.config, item.name) for item in fields(self.config)}
        given = {name: value for name, value in given.items() if value != around.get(name)}
        if self.experiment_group_name:
            given["group"] = self.experiment_group_name
        remedy = "give them where it is made, or finish it before the manager makes one"
        GivenOptions(given, "cfg.wandb", remedy).tell(self.run)

    def _save_file(self, name: str, text: str) -> None:
        """Write a file into the run's own directory and have W&B keep it."""
        file = Path(self.run.dir, name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        self.run.save(str(file), base_path=self.run.dir, policy="now")

    def _secrets(self) -> list[str | None]:
        """Return the API keys that are in use: from the config, the environment and netrc."""
        try:
            stored = [password for _, _, password in netrc.netrc(os.environ.get("NETRC")).hosts.values()]
        except (OSError, netrc.NetrcParseError):
            stored = []
        return [self.config.api_key, os.environ.get("WANDB_API_KEY"), *stored]

    def _needs_open_run(self, method: str) -> bool:
        raise NotImplementedError
