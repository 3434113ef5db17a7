"""Keyword arguments that functions hand on: their names and types, for editors and type checkers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from typing_extensions import Self

from ultralytics_wb_ddp.config.validation import (
    ConfigurationError,
    check_bool,
    check_choice,
    check_environment,
    check_job_type,
    check_known_keys,
    check_link,
    check_non_negative_int,
    check_project,
    check_run_id,
    check_s3_prefix,
    check_seconds,
    check_tags,
    check_text,
    check_uri,
    raise_type_error,
)
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
MODES = get_args(Mode)
RUN_MODES = get_args(RunMode)
RANK_SCOPES = get_args(RankScope)
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
MAX_MISTAKES = 256  # images: what a rank keeps of one may take up 1.5 MB
OMEGACONF_MISSING = "???"  # OmegaConf's mark of a value that is still to be given
_CHOICES = {
    "mode": MODES,
    "on_error": get_args(ErrorPolicy),
    "on_launcher_lost": get_args(OrphanPolicy),
    "run_mode": RUN_MODES,
    "rank_scope": RANK_SCOPES,
    "checkpoints": get_args(Checkpoints),
    "strategy": tuple(STRATEGIES),
}
# By the word that a setting's annotation begins with.
_CHECK_BY_TYPE: dict[str, Callable[[str, Any], Any]] = {
    "bool": check_bool,
    "int": check_non_negative_int,
    "tuple[str,": check_tags,
}
_CHECK_BY_NAME: dict[str, Callable[[str, str], str]] = {
    "project": check_project,
    "name": check_text,
    "group": check_text,
    "job_type": check_job_type,
    "link": check_link,
    "checkpoint_store": check_s3_prefix,
    "data_uri": check_uri,
}
OFFLINE_MODES = ("offline", "dryrun")  # as WANDB_MODE has it


class RunOptionsDict(TypedDict, total=False):
    """The options of ``add_wandb_callback``, explained at :class:`RunOptions`; None counts as not given."""

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
    """The options of ``wandb_config``: those of a manager besides."""

    id: str | None
    api_key: str | None
    keep_open: bool | None


class GroupOptionsDict(TypedDict, total=False):
    """The options of ``WandbManager.group``, explained at :class:`RunGroup`."""

    job_type: str
    metrics: Sequence[str]
    resume: bool


@dataclass(frozen=True)
class RunOptions:
    """How a run is made, in the words of ``wandb.init``; what is None is left to W&B.

    Attributes:
        project: Project of the run.
        entity: User or team that owns the project.
        name: Display name of the run.
        group: Group of the run.
        job_type: Kind of work, such as ``"train"``.
        tags: Tags of the run.
        notes: Free text on the run.
        mode: ``"online"``, ``"offline"`` or ``"disabled"``.
        dir: Directory in which W&B makes its ``wandb`` folder.
        run_mode: Which ranks log: ``"auto"``: the main one of its scope. ``"new"``: each one into a run of its own.
            ``"shared"``: all into one run of their scope, online only. None is ``"auto"``.
        rank_scope: ``"global"``: all ranks. ``"worker"``: the ranks of each node. None is ``"global"``.
        strategy: Mode and scope by the name that W&B's examples give them: ``"main"``, ``"node"`` or ``"all"``.
        rank_metrics: Log speed, waiting, memory and loss of each rank.
        batch_interval: Batches after which losses and learning rates of the last one are a row, as ``batch/*`` over the
            axis ``batch``; 0 logs whole epochs only.
        inputs: Make the dataset, the starting weights and the training's config input artifacts of the run.
        data_uri: Where the dataset comes from, such as ``"s3://bucket/shapes"``: its artifact refers to that instead of
            the copy that is trained on.
        mistakes: How many validation images the table of the worst ones shows after the evaluation of the best
            checkpoint, 0 to 256; 0 collects none.
        checkpoints: Which checkpoints become artifacts. ``"best"``: the best one. ``"best+last"``: also the last one,
            with the state of the optimizer. ``"all"``: the last one of every epoch, too. ``"none"``: none.
        checkpoint_interval: Epochs after which the last checkpoint, and a better best one, are logged while the
            training goes on; 0 is at its end only. None is 0 for ``"best"``, 10 for ``"best+last"``, 1 for ``"all"``.
        checkpoint_keep: How many of the newest checkpoints of earlier epochs W&B keeps beside the best and the last
            one. None is 0, and all of them for ``"all"``.
        checkpoint_ttl: Days that W&B keeps the others; None deletes them at once.
        checkpoint_store: ``s3://bucket/prefix`` to which checkpoints are uploaded; the artifacts then refer to it.
            Nothing is deleted there.
        link: Where the best checkpoint is linked to, so that others find it:
            ``"wandb-registry-REGISTRY/COLLECTION"`` or ``"PROJECT/PORTFOLIO"``. Online only.
        on_error: ``"warn"``: trouble with W&B is logged and never ends a training. ``"raise"``: it does.
        on_launcher_lost: What workers do whose launcher is gone: ``"continue"`` trains to the end and ``"stop"`` to
            the end of the epoch; what they log meanwhile is kept.
        init_timeout: Seconds that opening the run may take; then it is written to disk.
        finish_timeout: Seconds that closing the run may take; what is not sent by then stays on disk.
        flush_interval: Seconds after which what is logged is on disk; 0 writes full blocks only. Before wandb 0.31,
            any other value writes each row of a training at once.
    """

    project: str | None = None
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    job_type: str | None = None
    tags: tuple[str, ...] | None = None
    notes: str | None = None
    mode: str | None = None
    dir: str | None = None
    run_mode: str | None = None
    rank_scope: str | None = None
    strategy: str | None = None
    rank_metrics: bool = True
    batch_interval: int = 0
    inputs: bool = True
    data_uri: str | None = None
    mistakes: int = 16
    checkpoints: str = "best"
    checkpoint_interval: int | None = None
    checkpoint_keep: int | None = None
    checkpoint_ttl: int | None = None
    checkpoint_store: str | None = None
    link: str | None = None
    on_error: str = "warn"
    on_launcher_lost: str = "continue"
    init_timeout: float = 30.0
    finish_timeout: float = 120.0
    flush_interval: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what contradicts itself or is too much."""
        if self.mistakes > MAX_MISTAKES:
            msg = (
                f"mistakes={self.mistakes}: the table of mistakes shows {MAX_MISTAKES} images at most, for their memory"
            )
            raise ConfigurationError(msg)
        meant = STRATEGIES.get(self.strategy or "", (None, None))
        for name, value, other in (
            ("run_mode", self.run_mode, meant[0]),
            ("rank_scope", self.rank_scope, meant[1]),
        ):
            if value and other and value != other:
                msg = f"strategy={self.strategy!r} means {name}={other!r}, but {name}={value!r} is given; leave one out"
                raise ConfigurationError(msg)

    def logging_mode(self) -> tuple[str | None, str | None]:
        """Return run mode and rank scope, whichever way they are given; None where they are not."""
        named = STRATEGIES.get(self.strategy or "", (None, None))
        return self.run_mode or named[0], self.rank_scope or named[1]

    def training_options(self) -> dict[str, Any]:
        """Return the options that say how a training is logged, as far as they are not left at their defaults."""
        run_mode, rank_scope = self.logging_mode()
        chosen = replace(self, run_mode=run_mode, rank_scope=rank_scope, strategy=None)
        values = {field.name: (getattr(chosen, field.name), field.default) for field in fields(RunOptions)}
        return {
            name: value
            for name, (value, default) in values.items()
            if name not in RUN_ONLY_OPTIONS and value != default
        }

    def with_overrides(self, others: Mapping[str, Any], given: Collection[str]) -> Self:
        """Return these options with what was not given taken from others.

        Args:
            others: Values by name, as :meth:`of_training` returns them.
            given: Names of these options that were given.
        """
        fixed = {*given, *(("run_mode", "rank_scope") if "strategy" in given else ())}
        return replace(self, **{name: value for name, value in others.items() if name not in fixed})

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Check settings that a user wrote.

        Args:
            values: The settings by name; a value of None counts as not given.
            where: What the user wrote them into, for messages: a section such as ``"cfg.wandb"``, a function, or
                ``"--"`` for the options of a command.

        Raises:
            ConfigurationError: An unknown name, a value of a wrong type, or one that W&B refuses.
        """
        check_known_keys(values, [field.name for field in fields(cls)], where)
        given = {name: value for name, value in values.items() if value is not None}
        check_environment(given)
        return cls(**{name: _check(name, value, where) for name, value in given.items()})

    def with_defaults(self, default: RunOptions) -> Self:
        """Return these options with what is None taken from others."""
        missing = [field.name for field in fields(RunOptions) if getattr(self, field.name) is None]
        return replace(self, **{name: getattr(default, name) for name in missing})


@dataclass(frozen=True)
class WandbConfig(RunOptions):
    """What ``cfg.wandb`` may hold: the options of a run, and what a :class:`WandbManager` needs besides.

    Attributes:
        id: Id of the run; a run of this id that exists is continued.
        api_key: API key of W&B; without it the environment or netrc has one. It is never written anywhere.
        keep_open: Leave the run open during the training, so that workers attach to it instead of resuming it.
    """

    id: str | None = None
    api_key: str | None = None
    keep_open: bool = False

    def __repr__(self) -> str:
        """Show the settings without the API key: a representation ends in logs and tracebacks."""
        shown = replace(self, api_key=REDACTED) if self.api_key else self
        return f"WandbConfig({', '.join(f'{field.name}={getattr(shown, field.name)!r}' for field in fields(self))})"

    @classmethod
    def from_cfg(cls, cfg: Any, default: Mapping[str, Any] | None = None, *, where: str = "cfg.wandb") -> WandbConfig:
        """Return ``cfg.wandb`` of an OmegaConf config, a mapping, a dataclass or a namespace.

        Args:
            cfg: The config.
            default: Settings by name, for what is not given there.
            where: What the user wrote the settings into, for messages: ``"wandb"`` is the section of a file.

        Raises:
            ConfigurationError: There is no ``cfg.wandb.project``, or a setting is unknown or wrong.
        """
        if isinstance(cfg, (str, PathLike)):
            msg = f"cfg={fspath(cfg)!r} is a path; give what is in the file: OmegaConf.load({fspath(cfg)!r})"
            raise ConfigurationError(msg)
        section = cfg.get("wandb") if isinstance(cfg, Mapping) else getattr(cfg, "wandb", None)
        plain = to_plain({} if section is None and default else section, resolve=True)
        if not isinstance(plain, dict):
            found = "missing" if section is None else f"of type {type(section).__name__}"
            msg = f"{where} is {found} in a cfg of type {type(cfg).__name__}; give at least {where}.project"
            raise ConfigurationError(msg)
        check_known_keys(
            plain, [field.name for field in fields(cls)], where
        )  # a project that is misspelt is not missing
        settings = {name: value for name, value in plain.items() if value != OMEGACONF_MISSING}
        given = {name for name, value in settings.items() if value is not None}
        given |= {"run_mode", "rank_scope"} if "strategy" in given else set()
        settings |= {name: value for name, value in (default or {}).items() if name not in given}
        if settings.get("project") is None:
            msg = f"{where}.project is missing; name the W&B project that the run belongs to"
            raise ConfigurationError(msg)
        return cls.parse(settings, where)


def _check(name: str, value: Any, where: str) -> Any:
    """Return one setting in the form that the dataclass holds, or say what is wrong with it."""
    place = f"{where}{name}" if where == "--" else f"{where}{'.' if where.endswith('wandb') else ': '}{name}"
    kind = next(str(field.type) for field in fields(WandbConfig) if field.name == name).partition(" ")[0]
    if kind == "float":
        return check_seconds(place, value, least=0.0 if name == "flush_interval" else 1.0)
    if kind in _CHECK_BY_TYPE:
        return _CHECK_BY_TYPE[kind](place, value)
    if name == "dir" and isinstance(value, PathLike):
        return fspath(value)
    if not isinstance(value, str):
        raise_type_error(place, value)
    if name in _CHOICES:
        return check_choice(place, value, _CHOICES[name])
    if name == "id":
        return check_run_id(value, place)
    return _CHECK_BY_NAME[name](place, value) if name in _CHECK_BY_NAME else value
