"""Define the options of runs: names, types, defaults and checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict, get_args

from typing_extensions import Self

from ultralytics_wb_ddp.config.types import (
    Count,
    Directory,
    Flag,
    JobType,
    Link,
    Name,
    Project,
    RunId,
    S3Prefix,
    Seconds,
    SecondsOrNone,
    Tags,
    Text,
    Uri,
    at_least,
    validate_environment,
)
from ultralytics_wb_ddp.config.validation import ConfigurationError, Rule, check_known_keys, validate
from ultralytics_wb_ddp.utils.serialization import REDACTED, to_plain

if TYPE_CHECKING:
    from collections.abc import Sequence


Mode = Literal["online", "offline", "disabled"]
RunMode = Literal["auto", "new", "shared"]
RankScope = Literal["global", "worker"]
Strategy = Literal["main", "node", "all"]
Checkpoints = Literal["best", "best+last", "all", "none"]
ErrorPolicy = Literal["warn", "raise"]
OrphanPolicy = Literal["continue", "stop"]
MAX_MISTAKES = 256  # images; a rank keeps up to 1.5 MB for each
Mistakes = Annotated[int, Rule(f"a whole number of images, 0 to {MAX_MISTAKES},", at_least(0, MAX_MISTAKES))]
MODES = get_args(Mode)
STRATEGIES = {"main": ("auto", "global"), "node": ("auto", "worker"), "all": ("new", "global")}  # W&B's own names
RUN_ONLY_OPTIONS = (
    "project",
    "entity",
    "name",
    "group",
    "job_type",
    "tags",
    "notes",
    "mode",
    "dir",
)  # not of a training
OMEGACONF_MISSING = "???"  # OmegaConf's mark of a mandatory value that is missing
OFFLINE_MODES = ("offline", "dryrun")  # values of WANDB_MODE


class RunOptionsDict(TypedDict, total=False):
    """The options of ``add_wandb_callback``.

    :class:`RunOptions` explains them. None counts as not set.
    """

    project: str | None
    entity: str | None
    name: str | None
    group: str | None
    job_type: str | None
    tags: Sequence[str] | None
    notes: str | None
    mode: Mode | None
    dir: str | PathLike[str] | None
    run_mode: RunMode | None
    rank_scope: RankScope | None
    strategy: Strategy | None
    rank_metrics: bool | None
    batch_interval: int | None
    inputs: bool | None
    data_uri: str | None
    mistakes: int | None
    checkpoints: Checkpoints | None
    checkpoint_interval: int | None
    checkpoint_keep: int | None
    checkpoint_ttl: int | None
    checkpoint_store: str | None
    link: str | None
    on_error: ErrorPolicy | None
    on_launcher_lost: OrphanPolicy | None
    init_timeout: float | None
    finish_timeout: float | None
    flush_interval: float | None


class ScopeOptionsDict(RunOptionsDict, total=False):
    """The options of ``wandb_config``: also those of a manager."""

    id: str | None
    api_key: str | None
    keep_open: bool | None


class ProgramOptionsDict(RunOptionsDict, total=False):
    """The options of ``wandb_init``."""

    id: str | None
    api_key: str | None
    config: Mapping[str, Any] | None


class GroupOptionsDict(TypedDict, total=False):
    """The options of ``WandbManager.group``; :class:`RunGroup` explains them."""

    job_type: str
    metrics: Sequence[str]
    resume: bool


@dataclass(frozen=True)
class RunOptions:
    """Options of a run and of its logging.

    Options of ``wandb.init`` keep their names. W&B chooses the value of an option that is None.

    Attributes:
        project: Project of the run.
        entity: User or team that owns the project.
        name: Display name of the run.
        group: Group of the run.
        job_type: Kind of work, such as ``"train"``.
        tags: Tags of the run.
        notes: Free text on the run.
        mode: Where the run is kept. ``"online"``: by W&B's server. ``"offline"``: on disk. ``"disabled"``: nowhere.
        dir: Directory in which W&B creates its ``wandb`` folder.
        run_mode: Which ranks log. ``"auto"``: the main rank of its scope. ``"new"``: each rank to a run of its own.
            ``"shared"``: all ranks to one run of their scope, online only. By default ``"auto"``.
        rank_scope: ``"global"``: all ranks. ``"worker"``: the ranks of each node. By default ``"global"``.
        strategy: Mode and scope by the name that W&B's examples give them: ``"main"``, ``"node"`` or ``"all"``.
        rank_metrics: Log speed, waiting, memory and loss of each rank.
        batch_interval: Batches between two rows of losses and learning rates, as ``batch/*`` over the axis ``batch``.
            0 logs whole epochs only.
        inputs: Log the dataset, the starting weights and the training's config as input artifacts of the run.
        data_uri: Source of the dataset, such as ``"s3://bucket/shapes"``. The artifact refers to it instead of the
            local copy.
        mistakes: Number of validation images in the table of the worst ones, 0 to 256. The table is logged after the
            evaluation of the best checkpoint. 0 logs none.
        checkpoints: Which checkpoints become artifacts. ``"best"``: the best one. ``"best+last"``: also the last one,
            with the state of the optimizer. ``"all"``: also the last one of every epoch. ``"none"``: none.
        checkpoint_interval: Epochs between two uploads of the last checkpoint, and of a better best one, during the
            training. 0 uploads at its end only. By default 0 for ``"best"``, 10 for ``"best+last"``, 1 for ``"all"``.
        checkpoint_keep: Number of checkpoints of earlier epochs that W&B keeps, the newest ones, beside the best and
            the last one. By default 0, and all of them for ``"all"``.
        checkpoint_ttl: Days that W&B keeps the others. By default they are deleted at once.
        checkpoint_store: ``s3://bucket/prefix`` to which checkpoints are uploaded. The artifacts refer to it. Nothing
            is deleted there.
        link: Registry or portfolio to which the best checkpoint is linked:
            ``"wandb-registry-REGISTRY/COLLECTION"`` or ``"PROJECT/PORTFOLIO"``. Online only.
        on_error: ``"warn"``: an error of W&B is logged and never ends a training. ``"raise"``: the error is raised.
        on_launcher_lost: Reaction of workers whose launcher is gone. ``"continue"``: train to the end. ``"stop"``:
            stop after the epoch. Rows that they log meanwhile are kept.
        init_timeout: Seconds that opening the run may take; then it is written to disk.
        finish_timeout: Seconds that closing the run may take; unsent data stays on disk.
        flush_interval: Seconds after which a logged row is on disk; 0 writes full blocks only. Before wandb 0.31,
            any other value writes each row of a training at once.
    """

    project: Project | None = None
    entity: Text | None = None
    name: Name | None = None
    group: Name | None = None
    job_type: JobType | None = None
    tags: Tags | None = None
    notes: Text | None = None
    mode: Mode | None = None
    dir: Directory | None = None
    run_mode: RunMode | None = None
    rank_scope: RankScope | None = None
    strategy: Strategy | None = None
    rank_metrics: Flag = True
    batch_interval: Count = 0
    inputs: Flag = True
    data_uri: Uri | None = None
    mistakes: Mistakes = 16
    checkpoints: Checkpoints = "best"
    checkpoint_interval: Count | None = None
    checkpoint_keep: Count | None = None
    checkpoint_ttl: Count | None = None
    checkpoint_store: S3Prefix | None = None
    link: Link | None = None
    on_error: ErrorPolicy = "warn"
    on_launcher_lost: OrphanPolicy = "continue"
    init_timeout: Seconds = 30.0
    finish_timeout: Seconds = 120.0
    flush_interval: SecondsOrNone = 1.0

    def __post_init__(self) -> None:
        _split_strategy(self.as_layer())  # raises if the strategy contradicts the other options

    def as_layer(self) -> dict[str, Any]:
        """Return the options that are not None, by name, for :func:`merge`."""
        values = {field.name: getattr(self, field.name) for field in fields(RunOptions)}
        return {name: value for name, value in values.items() if value is not None}

    def training_options(self) -> dict[str, Any]:
        """Return the logging options of a training that differ from their defaults."""
        defaults = {field.name: field.default for field in fields(RunOptions)}
        return {
            name: value
            for name, value in merge(self.as_layer()).items()
            if name not in RUN_ONLY_OPTIONS and value != defaults[name]
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Return the options from settings that a user wrote, checked.

        Args:
            values: The settings by name; a value of None counts as not set.
            where: Origin of the settings, for messages: a section such as ``"cfg.wandb"``, a function, or ``"--"`` for
                the options of a command.

        Raises:
            ConfigurationError: A name is unknown, or a value has a wrong type, or W&B refuses it.
        """
        check_known_keys(values, [field.name for field in fields(cls)], where)
        options = {name: value for name, value in values.items() if value is not None}
        validate_environment(options)
        prefix = where if where == "--" else f"{where}{'.' if where.endswith('wandb') else ': '}"
        return validate(cls, options, prefix)  # type: ignore[no-any-return]

    @classmethod
    def parse_layer(cls, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the settings that a user wrote, checked as by :meth:`parse`, for :func:`merge`."""
        options = cls.parse(values, where)
        return {name: getattr(options, name) for name, value in values.items() if value is not None}


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge layers of options. The first layer that sets an option wins.

    Args:
        *layers: Options by name. None counts as not set. A ``strategy`` counts as the ``run_mode`` and ``rank_scope``
            that it stands for, so that another layer can set one of them.

    Returns:
        The options that are set, by name, without ``strategy``.

    Raises:
        ConfigurationError: The strategy of a layer contradicts another option of that layer.
    """
    merged: dict[str, Any] = {}
    for layer in reversed(layers):
        merged |= {name: value for name, value in _split_strategy(layer).items() if value is not None}
    return merged


def _split_strategy(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return a layer with run mode and rank scope in place of a known strategy."""
    strategy = layer.get("strategy")
    if not isinstance(strategy, str) or strategy not in STRATEGIES:
        return dict(layer)
    meant = dict(zip(("run_mode", "rank_scope"), STRATEGIES[strategy]))
    for name, value in meant.items():
        given = layer.get(name)
        if given is not None and given != value:
            msg = f"strategy={strategy!r} means {name}={value!r}, but {name}={given!r} is given; leave one out"
            raise ConfigurationError(msg)
    return {**{name: value for name, value in layer.items() if name != "strategy"}, **meant}


@dataclass(frozen=True)
class WandbConfig(RunOptions):
    """The options in ``cfg.wandb``.

    They are the options of a run and those of a :class:`WandbManager`.

    Attributes:
        id: Id of the run. An existing run of this id is continued.
        api_key: API key of W&B, by default from the environment or netrc. It is never written to a file.
        keep_open: Leave the run open during the training, so that workers attach to it instead of resuming it.
    """

    id: RunId | None = None
    api_key: Text | None = None
    keep_open: Flag = False

    def __repr__(self) -> str:
        """Return the settings without the API key, because logs and tracebacks contain representations."""
        shown = replace(self, api_key=REDACTED) if self.api_key else self
        return f"WandbConfig({', '.join(f'{field.name}={getattr(shown, field.name)!r}' for field in fields(self))})"

    @classmethod
    def from_cfg(cls, cfg: Any, default: Mapping[str, Any] | None = None, *, where: str = "cfg.wandb") -> WandbConfig:
        """Return the options in ``cfg.wandb``, checked.

        Args:
            cfg: An OmegaConf config, a mapping, a dataclass or a namespace.
            default: Settings by name that ``cfg.wandb`` overrides.
            where: Origin of the settings, for messages: ``"wandb"`` is the section of a file.

        Raises:
            ConfigurationError: ``cfg.wandb.project`` is missing, or a setting is unknown or wrong.
        """
        if isinstance(cfg, (str, PathLike)):
            msg = f"cfg={fspath(cfg)!r} is a path; give what is in the file: OmegaConf.load({fspath(cfg)!r})"
            raise ConfigurationError(msg)
        section = cfg.get("wandb") if isinstance(cfg, Mapping) else getattr(cfg, "wandb", None)
        plain = to_plain({} if section is None and default else section, resolve=True)
        if not isinstance(plain, dict):
            problem = "missing" if section is None else f"of type {type(section).__name__}"
            msg = f"{where} is {problem} in a cfg of type {type(cfg).__name__}; give at least {where}.project"
            raise ConfigurationError(msg)
        check_known_keys(
            plain, [field.name for field in fields(cls)], where
        )  # before the check for a missing project: it may be misspelt
        settings = merge({name: value for name, value in plain.items() if value != OMEGACONF_MISSING}, default or {})
        if settings.get("project") is None:
            msg = f"{where}.project is missing; name the W&B project that the run belongs to"
            raise ConfigurationError(msg)
        return cls.parse(settings, where)
