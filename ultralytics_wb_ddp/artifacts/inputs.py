"""Log a training's dataset, starting weights and config as input artifacts.

A thread collects the inputs. Images and weights are logged as references and never uploaded.
"""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.artifacts.dataset_fingerprint import Dataset
from ultralytics_wb_ddp.artifacts.dataset_scan import DatasetScan, ScanResult
from ultralytics_wb_ddp.artifacts.starting_weights import WeightSample, candidate_files_of_trainer
from ultralytics_wb_ddp.config.names import input_artifact_name, model_collection
from ultralytics_wb_ddp.runs.run_record import RunRecord, candidate_dirs
from ultralytics_wb_ddp.utils.logging import format_exception, logger
from ultralytics_wb_ddp.utils.serialization import URL_PATTERN, redact, strip_credentials, to_plain
from ultralytics_wb_ddp.wandb_client.internals import add_reference_entry, find_artifact, use_artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


FINGERPRINT_FILE = "wandb_dataset.tsv"
SCAN_TIMEOUT = 20.0  # seconds that the end of a training waits for the inputs
FAILED_TIMEOUT = 2.0  # seconds that the end of a failed training waits
LOOKUP_TIMEOUT = 10.0  # seconds for the search of a file's artifact at W&B
LOCATION_ARGUMENTS = frozenset(
    {"project", "name", "save_dir", "exist_ok", "resume"}
)  # they name a training's directory and do not affect its result
LOCATION_KEYS = frozenset({"train", "val", "validation", "test", "minival"})  # of a data YAML: directories and lists
CHECKPOINTS = re.compile(r"best|last|epoch\d+")
DOWNLOADED = re.compile(r"[\w.-]+:v\d+")  # the directory name of an artifact that W&B has downloaded


@dataclass(frozen=True)
class InputSources:
    """The places and values of a training's inputs.

    Attributes:
        data: ``trainer.data``.
        data_file: The data YAML; None where the dataset is a directory, as for classification.
        addresses: URLs of the dataset's source, such as ``s3://…``; empty for a local source.
        weights: The files that may hold the starting weights, the likeliest first; empty if the training is resumed.
        network: Tensors of the network at the start of the training; empty if the training is resumed.
        architecture: The model's YAML, if the model is built from one.
        checkpoint: The checkpoint from which the training is resumed, or None.
    """

    data: Mapping[str, Any]
    data_file: Path | None
    addresses: tuple[str, ...]
    weights: tuple[Path, ...]
    network: WeightSample
    arguments: Mapping[str, Any]
    architecture: Mapping[str, Any] | None
    task: str
    save_dir: Path
    checkpoint: str | None

    @classmethod
    def of_training(
        cls,
        trainer: Any,
        *,
        data: Any = None,
        data_uri: str | None = None,
        weights: Iterable[str] = (),
        goes_on: bool = False,
    ) -> InputSources:
        """Return the inputs of a training that has checked its dataset and built its network.

        Args:
            trainer: The trainer.
            data: The user's ``data``; Ultralytics may have replaced it in the arguments by the downloaded file.
            data_uri: URL of the dataset's source, given by the user.
            weights: Further files that may hold the starting weights, named by the launcher.
            goes_on: Whether the training resumes its own run, which has the starting weights as an input already.
        """
        file = Path(str(trainer.data.get("yaml_file") or trainer.args.data or ""))
        is_yaml = file.suffix in {".yaml", ".yml"} and file.is_file()
        text = file.read_text(encoding="utf-8", errors="replace") if is_yaml else ""
        urls = (data_uri, *URL_PATTERN.findall(str(data or "")), *_addresses(text))
        model = str(trainer.args.model or "")
        network = getattr(trainer.model, "module", trainer.model)
        return cls(
            trainer.data,
            file if is_yaml else None,
            tuple(dict.fromkeys(strip_credentials(url) for url in urls if url)),
            () if goes_on else candidate_files_of_trainer(trainer, weights),
            WeightSample() if goes_on else WeightSample.of_network(trainer.model),
            {key: value for key, value in vars(trainer.args).items() if key not in LOCATION_ARGUMENTS},
            getattr(network, "yaml", None) if model.endswith((".yaml", ".yml")) else None,
            str(trainer.args.task),
            Path(trainer.save_dir),
            str(trainer.args.resume) if trainer.args.resume else None,
        )


@dataclass
class InputLogger:
    """A logger of one training's inputs.

    A thread builds the artifacts, because the scan of a million images takes a while. The thread that holds the run
    logs them.
        ``secrets`` are texts that must not appear in the artifacts.
    """

    sources: InputSources
    secrets: tuple[str | None, ...] = ()
    _artifacts: list[Any] = field(default_factory=list)
    # Files of weights, names of artifacts that may hold them, and the artifact to log if none does.
    _known_weights: list[tuple[Path, list[str], Any]] = field(default_factory=list)
    _scan: DatasetScan | None = None
    _is_known: threading.Event = field(default_factory=threading.Event)
    _claim: threading.Lock = field(default_factory=threading.Lock)  # acquired once, by the thread that logs

    def start(self, on_done: Callable[[], None] = lambda: None) -> None:
        """Start the thread that builds the artifacts and then calls ``on_done``."""

        def build_all() -> None:
            self._build("starting weights", self._weights)  # first: the training may overwrite the file
            self._build("config", self._config)
            self._build("dataset", self._dataset)
            self._is_known.set()
            on_done()

        threading.Thread(target=build_all, name="inputs", daemon=True).start()

    def log(self, run: Any, patience: float = 0.0) -> None:
        """Log the artifacts as inputs of a run, once, if they are complete within ``patience`` seconds."""
        if self._is_known.wait(patience):
            self._log(run)

    def _log(self, run: Any) -> None:
        if not self._claim.acquire(blocking=False):
            return
        for artifact in list(self._artifacts):
            use_artifact(run, artifact)
        for known in self._known_weights:
            self._log_weights(run, *known)

    def finish(self, run: Any, *, failed: bool) -> None:
        """Log the artifacts at the end of a training, unless already logged.

        The scan of a dataset is stopped after ``SCAN_TIMEOUT``, with a warning; after ``FAILED_TIMEOUT`` if the
        training has failed.
        """
        is_known = self._is_known.wait(FAILED_TIMEOUT if failed else SCAN_TIMEOUT)
        if not is_known and self._scan:
            self._scan.stop()
        self._log(run)
        if not is_known:
            logger.warning("the dataset is no input of run %s: the training ended before its files were seen", run.id)

    def _build(self, title: str, build: Callable[[], Iterable[Any]]) -> None:
        try:
            self._artifacts.extend(build())
        except Exception as error:  # noqa: BLE001  # a missing input must not end the training
            logger.warning("the %s could not be made an input of the run: %s", title, format_exception(error))

    def _config(self) -> Iterator[Any]:
        import wandb
        import yaml

        artifact = wandb.Artifact("training_config", type="config")
        files = {"args.yaml": self.sources.arguments, "model.yaml": self.sources.architecture}
        for name, content in files.items():
            if content:
                _add_text(artifact, name, yaml.safe_dump(redact(to_plain(content), self.secrets), sort_keys=False))
        self._add_data_file(artifact)
        yield artifact

    def _weights(self) -> Iterator[Any]:
        """Build artifacts that refer to the starting weights.

        An artifact is kept back if W&B may have the same weights as another artifact.
        """
        import wandb

        files = self.sources.network.matching_files(self.sources.weights)
        if not files and self.sources.network.is_trained:
            logger.info("the weights that the training starts from are of no known file, and no input of the run")
        for weights in files:
            artifact = wandb.Artifact(input_artifact_name("weights", _weights_title(weights)), type="model")
            artifact.add_reference(weights.resolve().as_uri(), name=weights.name)
            if candidates := _artifact_candidates(weights):
                self._known_weights.append((weights, candidates, artifact))
            else:
                yield artifact

    def _log_weights(self, run: Any, weights: Path, candidates: list[str], artifact: Any) -> None:
        used: list[str] = []

        def look_up() -> None:
            digest = artifact.manifest.entries[weights.name].digest
            with suppress(Exception):  # W&B is unreachable, or has no such artifact
                name, match = next((name, match) for name in candidates if (match := find_artifact(run, name, digest)))
                use_artifact(run, match)
                used.append(name)

        if not run.offline:
            thread = threading.Thread(target=look_up, daemon=True)
            thread.start()
            thread.join(LOOKUP_TIMEOUT)
        if not used:
            use_artifact(run, artifact)

    def _dataset(self) -> Iterator[Any]:
        """Build the artifact of the dataset, and warn of changes since an interruption."""
        import wandb

        sources = self.sources
        dataset = Dataset.of_training(sources.data, sources.task)
        file, checkpoint = sources.save_dir / FINGERPRINT_FILE, sources.checkpoint
        previous = (
            [directory / FINGERPRINT_FILE for directory in candidate_dirs(sources.save_dir, checkpoint)]
            if checkpoint
            else []
        )
        self._scan = DatasetScan(dataset, file, previous)
        result = self._scan.wait()
        if result is None:
            return
        if result.changes:
            logger.warning("the dataset has changed since this training was interrupted: %s", result.changes)
        artifact = wandb.Artifact(input_artifact_name("dataset", self._title(dataset)), type="dataset")
        artifact.metadata = _describe(dataset, result)
        self._add_data_file(artifact, _strip_locations)
        artifact.add_file(str(file), name="files.tsv")
        for number, address in enumerate(sources.addresses):
            name = "data" if number == 0 else f"data-{number + 1}"
            digest = result.digest if number == 0 else address
            add_reference_entry(artifact, name, address, digest=digest, size=0, extra={})
        if not sources.addresses:
            for split, paths in dataset.splits.items():
                part = result.parts[split]
                for number, path in enumerate(paths):
                    name = split if number == 0 else f"{split}-{number + 1}"
                    size = part.size if number == 0 else 0
                    add_reference_entry(
                        artifact, name, path.absolute().as_uri(), digest=part.digest, size=size, extra={}
                    )
        yield artifact

    def _add_data_file(self, artifact: Any, change: Callable[[Any], Any] = lambda content: content) -> None:
        file = self.sources.data_file
        if file:
            text = file.read_text(encoding="utf-8", errors="replace")
            _add_text(artifact, "data.yaml", _clean_yaml(text, self.secrets, change))

    def _title(self, dataset: Dataset) -> str:
        """Return the dataset's title, which is never generic such as ``data``."""
        file = self.sources.data_file
        generic = file is None or file.stem in {"data", "dataset"}
        return (file.resolve().parent.name if file else dataset.root.resolve().name) if generic else file.stem  # type: ignore[union-attr]


def _describe(dataset: Dataset, result: ScanResult) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "root": str(dataset.root),
        "fingerprint": result.digest,
        "classes": len(dataset.classes),
    }
    for split, part in result.parts.items():
        metadata[split] = {"images": part.images, "bytes": part.size}
        if dataset.label_dir:
            metadata[split]["labels"] = part.labels
    return metadata


def _artifact_candidates(weights: Path) -> list[str]:
    """Return names of artifacts that may hold the weights.

    They follow from the directory's name, and from the record of the run that trained the weights.
    """
    names = []
    if DOWNLOADED.fullmatch(weights.resolve().parent.name):
        names.append(weights.resolve().parent.name)
    record = RunRecord.find(weights.parent, weights)
    if record:
        project = f"{record.entity}/{record.project}/" if record.entity and record.project else ""
        names += [
            f"{project}{model_collection(record.id)}:{alias}"
            for alias in dict.fromkeys((weights.stem, "best", "latest"))
        ]
    return names


def _weights_title(weights: Path) -> str:
    """Return the weights' title: a training's checkpoints are named by its directory."""
    weights = weights.resolve()
    is_checkpoint = CHECKPOINTS.fullmatch(weights.stem) and weights.parent.name == "weights"
    return f"{weights.parent.parent.name}_{weights.stem}" if is_checkpoint else weights.stem


def _add_text(artifact: Any, name: str, text: str) -> None:
    with artifact.new_file(name, encoding="utf-8") as file:
        file.write(text)


def _addresses(text: str) -> list[str]:
    """Return a data YAML's URLs that are whole values, outside of scripts."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:  # Ultralytics reads more than YAML allows
        return []
    values = content.values() if isinstance(content, dict) else ()
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return [item for item in flat if isinstance(item, str) and URL_PATTERN.fullmatch(item)]


def _strip_locations(content: Any) -> Any:
    """Remove local directories, so that a moved dataset keeps its version."""
    if not isinstance(content, dict):
        return content

    def inside(key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [inside(key, item) for item in value]
        is_path = key in LOCATION_KEYS and isinstance(value, str) and not URL_PATTERN.fullmatch(value)
        return Path(value).name if is_path and (value.startswith("..") or Path(value).is_absolute()) else value

    return {
        key: inside(key, value)
        for key, value in content.items()
        if key != "path" or (isinstance(value, str) and URL_PATTERN.fullmatch(value))
    }


def _clean_yaml(text: str, secrets: tuple[str | None, ...], change: Callable[[Any], Any]) -> str:
    """Change a YAML text and remove secrets; keep the text if nothing changes."""
    import yaml

    text = URL_PATTERN.sub(lambda match: strip_credentials(match[0]), text)
    content = to_plain(yaml.safe_load(text))
    clean = change(redact(content, secrets))
    return text if clean == content else str(yaml.safe_dump(clean, sort_keys=False))
