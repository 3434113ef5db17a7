"""A training's inputs (dataset, starting weights, config) as input artifacts of its run.

They are looked at in the background; images and weights are referred to and never uploaded.
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
SCAN_TIMEOUT = 20.0  # seconds that the end of a training waits for what is looked at
FAILED_TIMEOUT = 2.0  # seconds that the end of one that has failed waits
LOOKUP_TIMEOUT = 10.0  # seconds that W&B may take to say whether it knows a file
LOCATION_ARGUMENTS = frozenset(
    {"project", "name", "save_dir", "exist_ok", "resume"}
)  # where a training lies, not what it does
LOCATION_KEYS = frozenset({"train", "val", "validation", "test", "minival"})  # of a data YAML: directories and lists
CHECKPOINTS = re.compile(r"best|last|epoch\d+")
DOWNLOADED = re.compile(r"[\w.-]+:v\d+")  # the directory that W&B downloads an artifact to


@dataclass(frozen=True)
class InputSources:
    """Where the inputs of a training are.

    Attributes:
        data: ``trainer.data``.
        data_file: The data YAML; None where the dataset is a directory, as for classification.
        addresses: Where the dataset comes from, if that is elsewhere: ``s3://…``.
        weights: The files that its weights may be from, the likeliest first; none if it goes on.
        network: Tensors of the network as they are when the training begins; none if it goes on.
        arguments: The training's arguments.
        architecture: The model's YAML, where the model is made of one.
        task: Task of the training.
        save_dir: Directory of the training.
        checkpoint: What the training is resumed from; None if it is not.
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
        """Return the inputs of a trainer that has checked its dataset and made its network.

        Args:
            trainer: The trainer.
            data: What the user gave as ``data``, which Ultralytics may have downloaded and replaced since.
            data_uri: Where the user says that the dataset comes from.
            weights: Files that the launcher knows of from which the weights may be.
            goes_on: Whether the training goes on in the run in which it began: what it began with stands there.
        """
        file = Path(str(trainer.data.get("yaml_file") or trainer.args.data or ""))
        is_yaml = file.suffix in {".yaml", ".yml"} and file.is_file()
        text = file.read_text(encoding="utf-8", errors="replace") if is_yaml else ""
        named = (data_uri, *URL_PATTERN.findall(str(data or "")), *_addresses(text))
        model = str(trainer.args.model or "")
        network = getattr(trainer.model, "module", trainer.model)
        return cls(
            trainer.data,
            file if is_yaml else None,
            tuple(dict.fromkeys(strip_credentials(address) for address in named if address)),
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
    """The inputs of one training on their way into its run.

    A thread makes the artifacts, as a dataset of a million images takes a while, and says when it is done; they are
    logged by whoever has the run.

    Attributes:
        sources: Where they are.
        secrets: What must not stand in what is logged.
    """

    sources: InputSources
    secrets: tuple[str | None, ...] = ()
    _artifacts: list[Any] = field(default_factory=list)
    # Weights, what they may be in W&B, and what they are otherwise.
    _known_weights: list[tuple[Path, list[str], Any]] = field(default_factory=list)
    _scan: DatasetScan | None = None
    _is_known: threading.Event = field(default_factory=threading.Event)
    _claim: threading.Lock = field(default_factory=threading.Lock)  # who has it logs them

    def start(self, then: Callable[[], None] = lambda: None) -> None:
        """Begin to look at them.

        Args:
            then: What is done in the thread that looks, when all is known.
        """

        def look() -> None:
            self._build("starting weights", self._weights)  # first: the training may write over the file
            self._build("config", self._config)
            self._build("dataset", self._dataset)
            self._is_known.set()
            then()

        threading.Thread(target=look, name="inputs", daemon=True).start()

    def log(self, run: Any, patience: float = 0.0) -> None:
        """Log them as inputs of a run, once, if they are known.

        Args:
            run: The ``wandb.Run``.
            patience: Seconds to wait for them.
        """
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
        """Log them at the end of a training, if they are not logged yet; what is not known by then is given up.

        Args:
            run: The ``wandb.Run``.
            failed: Whether the training has failed, which is no time to wait.
        """
        is_known = self._is_known.wait(FAILED_TIMEOUT if failed else SCAN_TIMEOUT)
        if not is_known and self._scan:
            self._scan.stop()
        self._log(run)
        if not is_known:
            logger.warning("the dataset is no input of run %s: the training ended before its files were seen", run.id)

    def _build(self, what: str, make: Callable[[], Iterable[Any]]) -> None:
        try:
            self._artifacts.extend(make())
        except Exception as error:  # noqa: BLE001  # no lineage is worth a training
            logger.warning("the %s could not be made an input of the run: %s", what, format_exception(error))

    def _config(self) -> Iterator[Any]:
        """Make the artifact of what the training was told: arguments, data YAML, the model's YAML."""
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
        """Make the artifacts that refer to the starting weights, to be used where W&B does not know them already."""
        import wandb

        found = self.sources.network.matching_files(self.sources.weights)
        if not found and self.sources.network.is_trained:
            logger.info("the weights that the training starts from are of no known file, and no input of the run")
        for weights in found:
            artifact = wandb.Artifact(input_artifact_name("weights", _weights_title(weights)), type="model")
            artifact.add_reference(weights.resolve().as_uri(), name=weights.name)
            if candidates := _artifact_candidates(weights):
                self._known_weights.append((weights, candidates, artifact))
            else:
                yield artifact

    def _log_weights(self, run: Any, weights: Path, candidates: list[str], artifact: Any) -> None:
        """Use the artifact that the weights were logged as, or were downloaded from; one that refers to them else."""
        used: list[str] = []

        def look_up() -> None:
            digest = artifact.manifest.entries[weights.name].digest
            with suppress(Exception):  # W&B is away: nothing is known
                name, match = next((name, found) for name in candidates if (found := find_artifact(run, name, digest)))
                use_artifact(run, match)
                used.append(name)

        if not run.offline:
            thread = threading.Thread(target=look_up, daemon=True)
            thread.start()
            thread.join(LOOKUP_TIMEOUT)
        if not used:
            use_artifact(run, artifact)

    def _dataset(self) -> Iterator[Any]:
        """Make the artifact that says what the dataset consisted of and where it lies; warn of what has changed."""
        import wandb

        sources = self.sources
        dataset = Dataset.of_training(sources.data, sources.task)
        file, checkpoint = sources.save_dir / FINGERPRINT_FILE, sources.checkpoint
        earlier = (
            [place / FINGERPRINT_FILE for place in candidate_dirs(sources.save_dir, checkpoint)] if checkpoint else []
        )
        self._scan = DatasetScan(dataset, file, earlier)
        found = self._scan.wait()
        if found is None:
            return
        if found.changes:
            logger.warning("the dataset has changed since this training was interrupted: %s", found.changes)
        artifact = wandb.Artifact(input_artifact_name("dataset", self._title(dataset)), type="dataset")
        artifact.metadata = _describe(dataset, found)
        self._add_data_file(artifact, _strip_locations)
        artifact.add_file(str(file), name="files.tsv")
        for number, address in enumerate(sources.addresses):
            name = "data" if number == 0 else f"data-{number + 1}"
            digest = found.digest if number == 0 else address
            add_reference_entry(artifact, name, address, digest=digest, size=0, extra={})
        if not sources.addresses:
            for split, paths in dataset.splits.items():
                part = found.parts[split]
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
        """Return what people call the dataset: files are often called ``data.yaml``."""
        file = self.sources.data_file
        generic = file is None or file.stem in {"data", "dataset"}
        return (file.resolve().parent.name if file else dataset.root.resolve().name) if generic else file.stem  # type: ignore[union-attr]


def _describe(dataset: Dataset, found: ScanResult) -> dict[str, Any]:
    """Return the figures of a dataset, which people see beside the artifact."""
    facts: dict[str, Any] = {"root": str(dataset.root), "fingerprint": found.digest, "classes": len(dataset.classes)}
    for split, part in found.parts.items():
        facts[split] = {"images": part.images, "bytes": part.size}
        if dataset.label_dir:
            facts[split]["labels"] = part.labels
    return facts


def _artifact_candidates(weights: Path) -> list[str]:
    """Return as what W&B may know weights: the artifact of the directory's name, and that of the run beside them."""
    names = []
    if DOWNLOADED.fullmatch(weights.resolve().parent.name):
        names.append(weights.resolve().parent.name)
    record = RunRecord.find(weights.parent, weights)
    if record:
        place = f"{record.entity}/{record.project}/" if record.entity and record.project else ""
        names += [
            f"{place}{model_collection(record.id)}:{alias}" for alias in dict.fromkeys((weights.stem, "best", "latest"))
        ]
    return names


def _weights_title(weights: Path) -> str:
    """Return what people call weights: those of a training by the training's directory."""
    weights = weights.resolve()
    is_checkpoint = CHECKPOINTS.fullmatch(weights.stem) and weights.parent.name == "weights"
    return f"{weights.parent.parent.name}_{weights.stem}" if is_checkpoint else weights.stem


def _add_text(artifact: Any, name: str, text: str) -> None:
    with artifact.new_file(name, encoding="utf-8") as file:
        file.write(text)


def _addresses(text: str) -> list[str]:
    """Return the addresses of a dataset that its YAML names: as values, not somewhere in a script or a comment."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:  # Ultralytics reads more than YAML allows
        return []
    values = content.values() if isinstance(content, dict) else ()
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    return [item for item in flat if isinstance(item, str) and URL_PATTERN.fullmatch(item)]


def _strip_locations(content: Any) -> Any:
    """Return a data YAML without where the dataset lies: moved to another machine, it stays the same version."""
    if not isinstance(content, dict):
        return content

    def inside(key: str, value: Any) -> Any:
        if isinstance(value, list):
            return [inside(key, item) for item in value]
        is_place = key in LOCATION_KEYS and isinstance(value, str) and not URL_PATTERN.fullmatch(value)
        return Path(value).name if is_place and (value.startswith("..") or Path(value).is_absolute()) else value

    return {
        key: inside(key, value)
        for key, value in content.items()
        if key != "path" or (isinstance(value, str) and URL_PATTERN.fullmatch(value))
    }


def _clean_yaml(text: str, secrets: tuple[str | None, ...], change: Callable[[Any], Any]) -> str:
    """Return a YAML file changed and without secrets; as it is where that makes no difference."""
    import yaml

    text = URL_PATTERN.sub(lambda match: strip_credentials(match[0]), text)
    content = to_plain(yaml.safe_load(text))
    clean = change(redact(content, secrets))
    return text if clean == content else str(yaml.safe_dump(clean, sort_keys=False))
