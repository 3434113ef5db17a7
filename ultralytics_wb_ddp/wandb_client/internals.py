"""What the package needs of the W&B client that the client has no public way for, in one place.

Tried with wandb 0.28.1, 0.29.0 and 0.31.0.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import LONG_ID, safe_name
from ultralytics_wb_ddp.utils.environment import set_or_unset

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


_connecting = threading.RLock()  # wandb's connection is the process's, and several threads may open runs
LAUNCH_MODULE = "wandb.sdk.launch.inputs.internal"  # where W&B Launch keeps what is staged
LOG_BLOCK_SIZE = 33_000  # bytes; wandb-core writes its log to disk in blocks of 32 KiB


def supported_settings() -> Collection[str]:
    """Return the names of the settings that this release of wandb knows."""
    import wandb

    fields: Collection[str] = wandb.Settings.model_fields
    return fields


@contextmanager
def use_service(token: str, stream: str | None = None) -> Iterator[None]:
    """Have wandb use another service than the one that it is connected to, or than it would start.

    Where it is not connected to any, it stays connected to this one afterwards, so that ``wandb.init`` finds the run.

    Args:
        token: What leads to the service.
        stream: Name by which the service knows the run that is opened here; None is the run's id, of which it takes
            one only.
    """
    from wandb.sdk import wandb_setup

    skip_launch_import()
    with _connecting:
        theirs, variable = wandb_setup._singleton, os.environ.get("WANDB_SERVICE")  # no public way
        is_connected = theirs is not None and theirs._pid == os.getpid() and theirs._connection is not None
        wandb_setup._singleton = None
        os.environ["WANDB_SERVICE"] = token
        try:
            if stream:
                _rename_stream(wandb_setup.singleton().ensure_service(), stream)
            yield
        except BaseException:
            is_connected = True  # to nothing: neither to this one
            stop_finalizer_thread()
            raise
        finally:
            if is_connected:
                wandb_setup._singleton = theirs
                set_or_unset("WANDB_SERVICE", variable)


def skip_launch_import() -> None:
    """Have runs that are opened here import W&B Launch only where somebody has: it takes a second.

    They import it to apply what was staged with it in this process.
    """
    import wandb

    name = "_detect_and_apply_job_inputs"
    apply = vars(wandb.Run).get(name)
    if apply is not None and apply.__module__ != __name__:

        def apply_if_staged(run: Any) -> None:
            if LAUNCH_MODULE in sys.modules:
                apply(run)

        setattr(wandb.Run, name, apply_if_staged)


def _rename_stream(connection: Any, stream: str) -> None:
    """Have a connection to a service call the run that it opens by another name than its id, as W&B does for itself."""
    inform_init, inform_finish = connection.inform_init, connection.inform_finish
    connection.inform_init = lambda settings, run_id: inform_init(settings=settings, run_id=stream)  # noqa: ARG005
    connection.inform_finish = lambda run_id: inform_finish(run_id=stream)  # noqa: ARG005


def disconnect_service(token: str) -> None:
    """Have wandb start a service of its own for what the user opens next, unless it is connected to another one."""
    from wandb.sdk import wandb_setup

    with _connecting:
        if os.environ.get("WANDB_SERVICE") == token:
            del os.environ["WANDB_SERVICE"]
            stop_finalizer_thread()
            wandb_setup._singleton = None  # no public way


def stop_finalizer_thread() -> None:
    """End the thread with which wandb 0.31 tells its service of collected objects: it complains where that has gone."""
    from wandb.sdk import wandb_setup

    connection: Any = getattr(wandb_setup._singleton, "_connection", None)  # no public way
    if hasattr(connection, "_finalizer"):
        connection._finalizer.close()


@contextmanager
def no_login_prompt() -> Iterator[None]:
    """Keep wandb from asking for an API key: nobody answers in a job, and it would wait for ever."""
    terminal = sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:  # noqa: PTH123  # not a path but nothing
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = terminal


def shorten_table_names(run: Any) -> None:
    """Have wandb shorten the names of the artifacts that it makes for tables, for a run whose id is long.

    It makes them of the run's id and the table's key, and refuses those that are too long for an artifact when the
    table is logged. The others stay as they are.
    """
    if len(run.id) <= LONG_ID:
        return
    try:
        from wandb.sdk.artifacts import _internal_artifact as module

        make = module.sanitize_artifact_name
    except (ImportError, AttributeError):  # another release: long names are refused as ever
        return
    if make.__module__ == __name__:
        return

    def shorten(name: str) -> str:
        return safe_name(make(name))

    module.sanitize_artifact_name = shorten


def flush(run: Any, *, flushes_itself: bool = True) -> None:
    """Have wandb-core write what was logged to disk.

    It writes full blocks only, and an empty record of the size of a block pushes out what is before it.

    Args:
        run: The ``wandb.Run``.
        flushes_itself: Whether it was given an interval in which to do so, as wandb takes it from 0.31 on.
    """
    if not flushes_itself or "x_transaction_log_flush_interval" not in supported_settings():
        from wandb.proto import wandb_internal_pb2 as pb

        record = pb.Record(uuid=" " * LOG_BLOCK_SIZE)
        record.header.SetInParent()
        wandb_interface(run)._publish(record)  # no public way


def wandb_interface(run: Any) -> Any:
    """Return what sends a run's records to its wandb-core."""
    return run._interface  # no public way


def set_job_type(run: Any, job_type: str) -> None:
    """Set the job type of a run that is open, as assigning to ``run.name`` sets its name."""
    run._settings.run_job_type = job_type  # no public way, here and below
    wandb_interface(run).publish_run(run)


def forward_console(run: Any) -> None:
    """Have W&B get what ``console="redirect"`` takes from the file descriptors.

    wandb hands it over in a kind of record that wandb-core passes over (0.28 to 0.31), so that only a file here would
    hold it.
    """
    interface = wandb_interface(run)

    def send(stream: str, data: bytes) -> None:
        interface.publish_output_raw(stream, data.decode(errors="replace"), nowait=True)

    for stream, name in (("stdout", "_out_redir"), ("stderr", "_err_redir")):
        redirection = getattr(run, name, None)
        if redirection is not None and type(redirection).__name__ == "Redirect":
            redirection.cbs = [partial(send, stream)]


def disable_server_queries(run: Any) -> None:
    """Keep wandb from asking the server things each time that an artifact or a table is logged.

    It asks who the key belongs to, whether the artifact has another type already and, before 0.31, how old the server
    is; it waits for each answer, for minutes in some releases, and drops the artifact, or the table with its whole
    row, where there is none. The first is known since the run was opened, W&B's own comments call the second a help
    and no requirement, and the last settled since 2021.

    It also tells its wandb-core which libraries are imported, within their import, which fails where that is gone.
    """
    known: list[Any] = []

    def public_api(*args: Any) -> Any:
        if not known:
            from wandb.apis.public import Api
            from wandb.sdk import wandb_login

            with ExitStack() as stack:
                for owner, name in ((wandb_login, "_verify_login"), (Api, "_configure_sentry")):
                    if hasattr(owner, name):
                        stack.callback(setattr, owner, name, getattr(owner, name))
                        setattr(owner, name, _do_nothing)
                known.append(type(run)._public_api(run, *args))  # no public way, here and below
        return known[0]

    from wandb.sdk.data_types.base_types import wb_value

    if hasattr(wb_value, "_server_accepts_client_ids"):
        wb_value._server_accepts_client_ids = lambda: True
    run._public_api = public_api
    run._assert_can_log_artifact = _do_nothing
    run._telemetry_callback = partial(_send_telemetry_safely, run)


def _send_telemetry_safely(run: Any, record: Any) -> None:
    """Report to wandb-core what nobody waits for."""
    with suppress(Exception):
        type(run)._telemetry_callback(run, record)


def _do_nothing(*_: Any, **__: Any) -> None:
    """Stand in for a question to the server."""


def restore_server_queries(run: Any) -> None:
    """Undo :func:`ask_nothing`."""
    for name in ("_public_api", "_assert_can_log_artifact", "_telemetry_callback"):
        run.__dict__.pop(name, None)


def request_stop_status(run: Any) -> Any:
    """Ask a run's wandb-core whether the Stop button was pressed; the returned handle waits for the answer."""
    from wandb.proto import wandb_internal_pb2 as pb

    record = pb.Record(request=pb.Request(stop_status=pb.StopStatusRequest()))
    return wandb_interface(run)._deliver(record)  # no public way


def set_stop_function(run: Any, function: Callable[[], None]) -> None:
    """Replace the function that an open run calls when the Stop button is pressed.

    Args:
        run: The ``wandb.Run``; one that is offline or attached calls none.
        function: The function.
    """
    checker = getattr(run, "_run_status_checker", None)
    if checker is None:
        return
    inner = getattr(getattr(checker, "_stop_checker", None), "_impl", None)
    if inner is not None:  # wandb 0.31
        inner._stop_fn = function  # no public way
    else:
        object.__setattr__(checker._settings, "stop_fn", function)  # it is frozen


def replace_finish(run: Any, finish: Callable[..., None]) -> None:
    """Replace a run's ``finish``, which the end of a ``with`` block calls, too."""
    run.finish = run._finish = finish


def restore_finish(run: Any) -> None:
    """Undo :func:`replace_finish`."""
    for name in ("finish", "_finish"):
        run.__dict__.pop(name, None)


def set_files_dir(run: Any, directory: str) -> None:
    """Set the directory in which an attached run puts images and tables.

    Attaching takes it from this process's own settings, and nothing is uploaded from there.
    """
    run._settings.x_files_dir = directory  # no public way


def is_attached(run: Any) -> bool:
    """Return whether a run is open in another process and was attached to here."""
    return bool(getattr(run, "_is_attached", False))


def has_finish_timed_out(run: Any) -> bool:
    """Return whether a run's ``finish`` gave up before everything was sent."""
    return bool(getattr(run, "_finish_timed_out", False))


def client_settings() -> Any:
    """Return the settings of the W&B client, from its variables and files.

    Raises:
        Exception: The client refuses one of them; the kind differs between releases.
    """
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings


def storage_directories() -> tuple[str, str]:
    """Return the directories of W&B's cache and of the artifacts that are being put together."""
    from wandb import env

    return str(env.get_cache_dir()), str(env.get_data_dir())


def use_artifact(run: Any, artifact: Any) -> None:
    """Make an artifact an input of a run, without waiting for W&B, and on disk as well.

    ``run.use_artifact`` waits until a new artifact has arrived, and refuses to work offline, where a record that
    ``wandb sync`` understands does the same.
    """
    if artifact.is_draft():
        run._log_artifact(artifact, aliases=[], is_user_created=True, use_after_commit=True)  # see above
    else:
        run.use_artifact(artifact)


def find_artifact(run: Any, name: str, digest: str) -> Any:
    """Return the artifact of a name that holds a file, known by its digest; None where there is none.

    Args:
        run: The ``wandb.Run`` that says where to look.
        name: Name with version or alias, without entity and project for the run's own.
        digest: MD5 of the file, as W&B writes it.
    """
    try:
        path = name if "/" in name else f"{run.entity}/{run.project}/{name}"
        artifact = run._public_api().artifact(path)  # the one that asks nothing else
        entries = artifact.manifest.entries.values()
    except Exception:  # noqa: BLE001  # whatever W&B says: it is not there
        return None
    return artifact if any(entry.digest == digest for entry in entries) else None


def plain_table(columns: list[str], types: list[type], rows: list[list[Any]]) -> Any:
    """Return a ``wandb.Table`` of rows that JSON can hold as they are.

    Given to ``wandb.Table``, the type of each value is found out, and when the table is logged each value is looked at
    again for what JSON has no word for. Of 40,000 rows the first takes a second and the second a third of one.

    Args:
        columns: Names of the columns.
        types: Type of each column: ``str``, ``int``, ``float`` or ``bool``.
        rows: Values of these types, or None.
    """
    import wandb

    table = wandb.Table(columns=columns, data=[], dtype=types)
    table.data.extend(rows)

    def to_json(target: Any) -> dict[str, Any]:
        if not isinstance(target, wandb.Artifact):
            return wandb.Table.to_json(table, target)  # type: ignore[no-any-return]
        empty = wandb.Table(columns=columns, data=[], dtype=types)
        return {**empty.to_json(target), "data": rows, "nrows": len(rows)}

    table.to_json = to_json
    return table


def add_reference_entry(
    artifact: Any, path: str, address: str, *, digest: str, size: int, extra: dict[str, str]
) -> None:
    """Add a reference of which all is known to an artifact.

    The public way asks S3 itself: it needs boto3 where nothing is to be asked, takes the newest version whatever
    version is given, takes ``runs/10`` for a part of ``runs/1`` and keeps silent about objects beyond the maximum.

    Args:
        artifact: The ``wandb.Artifact``.
        path: Path in the artifact.
        address: What it refers to.
        digest: What changes with its content.
        size: Size in bytes.
        extra: What the download needs besides.
    """
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    entry = ArtifactManifestEntry(path=path, ref=address, digest=digest, size=size, extra=extra)
    artifact.manifest.add_entry(entry)


class SweepAgentClient:
    """An agent of a sweep as W&B knows it: registered, it asks every few seconds what to do.

    ``wandb.agent`` runs a function as a thread, which an early end interrupts with an exception: where it waits for a
    launch, it trains to the last epoch and fails then. A program it runs as a process, which an early end terminates.

    Args:
        entity: Entity of the sweep.
        project: Project of the sweep.
        sweep_id: Its id.
    """

    def __init__(self, entity: str, project: str, sweep_id: str) -> None:
        host, of = socket.gethostname(), {"sweep_id": sweep_id, "entity": entity}
        try:  # from wandb 0.30 on
            from wandb import Api
            from wandb.apis.public.sweeps import _agent_heartbeat, _register_agent

            api = Api()
            agent = _register_agent(api, host, project=project, **of)
            self._heartbeat = partial(_agent_heartbeat, api, agent["id"], {})
        except ImportError:
            from wandb.sdk.internal.internal_api import Api as InternalApi

            internal = InternalApi()
            agent = internal.register_agent(host, project_name=project, **of)
            self._heartbeat = partial(internal.agent_heartbeat, agent["id"], {})

    def ask(self, active: Collection[str]) -> list[dict[str, Any]]:
        """Return W&B's commands: ``{"type": "run", "run_id": ..., "args": {name: {"value": ...}}}``, stop or exit.

        Args:
            active: Ids of the runs that are going on. An agent without any is given the next trial.
        """
        return list(self._heartbeat(dict.fromkeys(active, True)))
