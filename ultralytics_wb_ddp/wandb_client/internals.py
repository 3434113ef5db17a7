"""Wrap the parts of the W&B client that have no public API.

Tested with wandb 0.28.1, 0.29.0 and 0.31.0.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ultralytics_wb_ddp.config.names import LONG_ID, safe_name
from ultralytics_wb_ddp.utils.environment import set_or_unset

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator


_connecting = threading.RLock()  # a process has one connection of wandb, and several threads may open runs
LAUNCH_MODULE = "wandb.sdk.launch.inputs.internal"  # W&B Launch keeps staged inputs here
SENDING_METHODS = ("_publish", "_deliver")  # of the interface that sends a run's records
LOG_BLOCK_SIZE = 33_000  # bytes; wandb-core writes its log to disk in blocks of 32 KiB


def supported_settings() -> Collection[str]:
    """Return the names of all settings in this release of wandb."""
    import wandb

    fields: Collection[str] = wandb.Settings.model_fields
    return fields


@contextmanager
def use_service(token: str, stream: str | None = None) -> Iterator[None]:
    """Connect wandb to another service inside a ``with`` block.

    Without a previous connection, wandb stays connected to this service afterwards, so that ``wandb.init`` finds the
    run.

    Args:
        token: Address of the service, as in ``WANDB_SERVICE``.
        stream: Name of the opened run within the service; None is the run's id. A service accepts a name only once.
    """
    from wandb.sdk import wandb_setup

    skip_launch_import()
    with _connecting:
        previous, variable = wandb_setup._singleton, os.environ.get("WANDB_SERVICE")  # no public API
        is_connected = previous is not None and previous._pid == os.getpid() and previous._connection is not None
        wandb_setup._singleton = None
        os.environ["WANDB_SERVICE"] = token
        try:
            if stream:
                _rename_stream(wandb_setup.singleton().ensure_service(), stream)
            yield
        except BaseException:
            is_connected = True  # after an error restore the previous state, also if there was no connection
            stop_finalizer_thread()
            raise
        finally:
            if is_connected:
                wandb_setup._singleton = previous
                set_or_unset("WANDB_SERVICE", variable)


def skip_launch_import() -> None:
    """Patch ``wandb.Run`` to skip the slow import of W&B Launch.

    The import takes a second. An opened run imports W&B Launch to apply staged inputs. Without an earlier import in
    this process no inputs are staged.
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
    inform_init, inform_finish = connection.inform_init, connection.inform_finish
    connection.inform_init = lambda settings, run_id: inform_init(settings=settings, run_id=stream)  # noqa: ARG005
    connection.inform_finish = lambda run_id: inform_finish(run_id=stream)  # noqa: ARG005


def disconnect_service(token: str) -> None:
    """Disconnect wandb from a service.

    The user's next run then starts a service of its own. A connection to another service stays.
    """
    from wandb.sdk import wandb_setup

    with _connecting:
        if os.environ.get("WANDB_SERVICE") == token:
            del os.environ["WANDB_SERVICE"]
            stop_finalizer_thread()
            wandb_setup._singleton = None  # no public API


def stop_finalizer_thread() -> None:
    """End wandb 0.31's thread that reports collected objects to the service.

    The thread logs errors once the service is gone.
    """
    from wandb.sdk import wandb_setup

    connection: Any = getattr(wandb_setup._singleton, "_connection", None)  # no public API
    if hasattr(connection, "_finalizer"):
        connection._finalizer.close()


@contextmanager
def no_login_prompt() -> Iterator[None]:
    """Keep wandb from asking for an API key: jobs would hang."""
    terminal = sys.stdin
    with open(os.devnull, encoding="utf-8") as empty:  # noqa: PTH123  # no real path
        sys.stdin = empty
        try:
            yield
        finally:
            sys.stdin = terminal


def shorten_table_names(run: Any) -> None:
    """Shorten wandb's names of table artifacts if a run's id is long.

    Wandb builds such a name from the run's id and the table's key. It refuses a name that is too long when the table
    is logged. Other names stay the same.
    """
    if len(run.id) <= LONG_ID:
        return
    try:
        from wandb.sdk.artifacts import _internal_artifact as module

        sanitize = module.sanitize_artifact_name
    except (ImportError, AttributeError):  # another release: wandb refuses long names
        return
    if sanitize.__module__ == __name__:
        return

    def shorten(name: str) -> str:
        return safe_name(sanitize(name))

    module.sanitize_artifact_name = shorten


def flush(run: Any, *, flushes_itself: bool = True) -> None:
    """Make wandb-core write all logged records to disk.

    Since wandb 0.31 a run can have a flush interval and flushes itself. Wandb-core writes full blocks only. An empty
    record of the size of a block pushes out the records before it. A disabled run has no wandb-core.
    """
    if run.disabled:
        return
    if not flushes_itself or "x_transaction_log_flush_interval" not in supported_settings():
        from wandb.proto import wandb_internal_pb2 as pb

        record = pb.Record(uuid=" " * LOG_BLOCK_SIZE)
        record.header.SetInParent()
        wandb_interface(run)._publish(record)  # no public API


def wandb_interface(run: Any) -> Any:
    """Return the interface that sends a run's records to its wandb-core."""
    return run._interface  # no public API


def set_job_type(run: Any, job_type: str) -> None:
    """Set the job type of an open run."""
    run._settings.run_job_type = job_type  # no public API, here and below
    wandb_interface(run).publish_run(run)


def forward_console(run: Any) -> None:
    """Send the output that ``console="redirect"`` captures to W&B.

    Wandb 0.28 to 0.31 sends the output as a record type that wandb-core ignores. Only a local file would hold it.
    """
    interface = wandb_interface(run)

    def send(stream: str, data: bytes) -> None:
        interface.publish_output_raw(stream, data.decode(errors="replace"), nowait=True)

    for stream, name in (("stdout", "_out_redir"), ("stderr", "_err_redir")):
        redirection = getattr(run, name, None)
        if redirection is not None and type(redirection).__name__ == "Redirect":
            redirection.cbs = [partial(send, stream)]


def disable_server_queries(run: Any) -> None:
    """Stop wandb's requests to the server for each logged artifact and table.

    Wandb requests the owner of the API key, the existing type of the artifact and, before 0.31, the server's version.
    It waits for each answer, for minutes in some releases. Without an answer it drops the artifact, or the table with
    its whole row. The owner is known since the run was opened. W&B's own comments call the check of the type optional.
    Every server since 2021 passes the check of the version.

    Wandb also reports imported libraries to its wandb-core during their import. The import would fail if wandb-core is
    gone. Errors of this report are therefore ignored.
    """
    cached_api: list[Any] = []

    def public_api(*args: Any) -> Any:
        if not cached_api:
            from wandb.apis.public import Api
            from wandb.sdk import wandb_login

            with ExitStack() as stack:
                for owner, name in ((wandb_login, "_verify_login"), (Api, "_configure_sentry")):
                    if hasattr(owner, name):
                        stack.callback(setattr, owner, name, getattr(owner, name))
                        setattr(owner, name, _do_nothing)
                cached_api.append(type(run)._public_api(run, *args))  # no public API, here and below
        return cached_api[0]

    from wandb.sdk.data_types.base_types import wb_value

    if hasattr(wb_value, "_server_accepts_client_ids"):
        wb_value._server_accepts_client_ids = lambda: True
    run._public_api = public_api
    run._assert_can_log_artifact = _do_nothing
    run._telemetry_callback = partial(_send_telemetry_safely, run)


def _send_telemetry_safely(run: Any, record: Any) -> None:
    with suppress(Exception):
        type(run)._telemetry_callback(run, record)


def _do_nothing(*_: Any, **__: Any) -> None:
    """Stand in for a request to the server."""


def restore_server_queries(run: Any) -> None:
    """Undo :func:`disable_server_queries`."""
    for name in ("_public_api", "_assert_can_log_artifact", "_telemetry_callback"):
        run.__dict__.pop(name, None)


def request_stop_status(run: Any) -> Any:
    """Return a handle that waits for the state of the Stop button."""
    from wandb.proto import wandb_internal_pb2 as pb

    record = pb.Record(request=pb.Request(stop_status=pb.StopStatusRequest()))
    return wandb_interface(run)._deliver(record)  # no public API


def set_stop_function(run: Any, function: Callable[[], None]) -> None:
    """Replace the function that the Stop button calls. An offline or attached run calls none."""
    checker = getattr(run, "_run_status_checker", None)
    if checker is None:
        return
    inner = getattr(getattr(checker, "_stop_checker", None), "_impl", None)
    if inner is not None:  # wandb 0.31
        inner._stop_fn = function  # no public API
    else:
        object.__setattr__(checker._settings, "stop_fn", function)  # the settings are frozen


def replace_finish(run: Any, finish: Callable[..., None]) -> None:
    """Replace a run's ``finish``, also for the end of its ``with`` block."""
    run.finish = run._finish = finish


def wrap_finish(run: Any, wrapper: Callable[..., None]) -> None:
    """Wrap a run's ``finish``, also for the end of its ``with`` block.

    Args:
        run: The ``wandb.Run``.
        wrapper: Function that gets the wrapped one and then its arguments.
    """
    run._finish = partial(wrapper, run._finish)  # no public API; ``finish`` and ``__exit__`` call it


def is_finish_wrapped(run: Any) -> bool:
    """Return whether a run's ``finish`` was wrapped or replaced."""
    return "_finish" in vars(run)


def call_after_teardown(run: Any, function: Callable[[], None]) -> None:
    """Call a function after wandb has shut down a run's wandb-core, as it does when the script ends.

    A wandb-core that another process owns is not shut down. For each wandb-core, only the first function is called.

    Args:
        run: The ``wandb.Run``.
        function: The function.
    """
    connection = getattr(getattr(run, "_wl", None), "_connection", None)  # no public API, here and below
    if connection is None or connection._proc is None or "teardown" in vars(connection):
        return
    teardown = connection.teardown

    def tear_down_and_call(*arguments: Any, **options: Any) -> Any:
        try:
            return teardown(*arguments, **options)
        finally:
            function()

    connection.teardown = tear_down_and_call


def restore_finish(run: Any) -> None:
    """Undo :func:`replace_finish`."""
    for name in ("finish", "_finish"):
        run.__dict__.pop(name, None)


def watch_calls(run: Any, *, on_row: Callable[[dict[str, Any]], None], on_lost: Callable[[Exception], Any]) -> None:
    """Watch a program's own calls of a run.

    Args:
        run: The ``wandb.Run``.
        on_row: Function that gets each logged row.
        on_lost: Function that gets the error of a call which finds that wandb-core is gone. It returns the
            ``wandb.Run`` that takes the call. With None, the call does nothing; one that needs an answer fails.
    """
    interface, log_row = wandb_interface(run), run._partial_history_callback  # no public API, here and below

    def send(name: str, record: Any, **options: Any) -> Any:
        try:
            return getattr(type(interface), name)(interface, record, **options)
        except Exception as error:
            if not is_core_lost(error):
                raise
            other = on_lost(error)
            if other is None and name == "_deliver":
                raise
            return other and getattr(wandb_interface(other), name)(record, **options)

    def log_and_note(row: dict[str, Any], *arguments: Any, **options: Any) -> None:
        log_row(row, *arguments, **options)
        on_row(row)

    for name in SENDING_METHODS:
        setattr(interface, name, partial(send, name))
    run._partial_history_callback = log_and_note


def unwatch_calls(run: Any) -> None:
    """Undo :func:`watch_calls`."""
    for name in SENDING_METHODS:
        vars(wandb_interface(run) or run).pop(name, None)
    vars(run).pop("_partial_history_callback", None)


def merge_runs(run: Any, other: Any) -> None:
    """Make a ``wandb.Run`` that a program holds the same run as another one."""
    run.__dict__ = other.__dict__


def set_files_dir(run: Any, directory: str) -> None:
    """Set the directory for images and tables of an attached run.

    By default an attached run uses the directory of this process's settings, from which wandb uploads no files.
    """
    run._settings.x_files_dir = directory  # no public API


def is_attached(run: Any) -> bool:
    """Return whether a run is attached: it is open in another process."""
    return bool(getattr(run, "_is_attached", False))


def has_finish_timed_out(run: Any) -> bool:
    """Return whether a run's ``finish`` timed out before all data was sent."""
    return bool(getattr(run, "_finish_timed_out", False))


def is_core_lost(error: BaseException) -> bool:
    """Return whether an error of a call to a run says that its wandb-core is gone."""
    return isinstance(error, (ConnectionError, EOFError)) or type(error).__name__ == "MailboxClosedError"


def has_upload_failed(run: Any) -> bool:
    """Return whether W&B has refused the run's data for good, after which wandb-core sends no more.

    ``run.finish`` reports nothing then. Only wandb-core's log on disk names the error.

    Args:
        run: A finished ``wandb.Run``.
    """
    try:
        return b"filestream: fatal error" in Path(run.settings.log_internal).read_bytes()
    except (OSError, TypeError, AttributeError):
        return False


def client_settings() -> Any:
    """Return the W&B client's settings from its variables and files.

    An invalid setting raises an exception whose type differs between releases.
    """
    from wandb.sdk import wandb_setup

    return wandb_setup.singleton().settings


def storage_directories() -> tuple[str, str]:
    """Return W&B's directories for its cache and for staged artifacts."""
    from wandb import env

    return str(env.get_cache_dir()), str(env.get_data_dir())


def use_artifact(run: Any, artifact: Any) -> None:
    """Make an artifact an input of a run, without waiting for W&B.

    ``run.use_artifact`` waits for the upload of a new artifact and fails offline. For a new artifact, this
    function writes a record instead, which ``wandb sync`` understands, too.
    """
    if artifact.is_draft():
        with artifacts_on_disk(run):
            run._log_artifact(artifact, aliases=[], is_user_created=True, use_after_commit=True)  # no public API
    else:
        run.use_artifact(artifact)


@contextmanager
def artifacts_on_disk(run: Any) -> Iterator[None]:
    """Write the artifacts that this thread logs inside a ``with`` block to the run's log on disk, too.

    Online, wandb logs an artifact by a request, which is only in the memory of wandb-core. If W&B is away, or
    wandb-core is killed, nothing on disk says that the artifact is missing. Offline, wandb writes a record. The record
    works online as well.

    Args:
        run: The ``wandb.Run``.
    """
    interface, this_thread = wandb_interface(run), threading.get_ident()
    if run.offline or interface is None:
        yield
        return
    deliver = interface.deliver_artifact  # no public API, here and below

    def publish(run: Any, artifact: Any, aliases: Any, tags: Any, step: int, **options: Any) -> Any:
        if threading.get_ident() != this_thread:
            return deliver(run, artifact, aliases, tags, step, **options)
        return interface.publish_artifact(run, artifact, aliases, tags, **options)

    interface.deliver_artifact = publish
    try:
        yield
    finally:
        interface.__dict__.pop("deliver_artifact", None)


def log_artifact(run: Any, artifact: Any, aliases: list[str] | None = None) -> Any:
    """Log an artifact with a record in the run's log on disk.

    Args:
        run: The ``wandb.Run``.
        artifact: The ``wandb.Artifact``.
        aliases: Aliases of the artifact.

    Returns:
        The artifact. Its ``wait`` asks W&B for the artifact of the same digest.
    """
    with artifacts_on_disk(run):
        logged = run.log_artifact(artifact, aliases=aliases)
    if not run.offline:

        def wait(timeout: int | None = None) -> Any:
            del logged.wait
            return run.log_artifact(logged, aliases=aliases).wait(timeout)

        logged.wait = wait
    return logged


def find_artifact(run: Any, name: str, digest: str) -> Any:
    """Return an artifact by name if it contains a file with this MD5, in W&B's base64 form; else None.

    The default entity and project are those of the run.
    """
    try:
        path = name if "/" in name else f"{run.entity}/{run.project}/{name}"
        artifact = run._public_api().artifact(path)  # this object requests nothing else
        entries = artifact.manifest.entries.values()
    except Exception:  # noqa: BLE001  # any error counts as a missing artifact
        return None
    return artifact if any(entry.digest == digest for entry in entries) else None


def table_of_plain_values(columns: list[str], types: list[type], rows: list[list[Any]]) -> Any:
    """Return a ``wandb.Table`` whose rows are ``str``, ``int``, ``float``, ``bool`` or None.

    It is faster than ``wandb.Table(data=rows)``, which infers the type of each value and checks each value again when
    the table is logged. For 40,000 rows the first takes a second, the second a third of a second.
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
    """Add a reference with known digest and size to an artifact.

    The public ``add_reference`` requests the object from S3. It always needs boto3, ignores the version in an address,
    counts ``runs/10`` as a part of ``runs/1`` and skips objects beyond the maximum without a message.
    """
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    entry = ArtifactManifestEntry(path=path, ref=address, digest=digest, size=size, extra=extra)
    artifact.manifest.add_entry(entry)


class SweepAgentClient:
    """A registered agent of a W&B sweep, which polls W&B for commands.

    ``wandb.agent`` is no alternative. It runs a function in a thread and interrupts the thread with an exception when
    the trial ends early: a thread that waits for a launch trains to the last epoch and fails then. It runs a program as
    a process, which it terminates when the trial ends early.
    """

    def __init__(self, entity: str, project: str, sweep_id: str) -> None:
        host, sweep = socket.gethostname(), {"sweep_id": sweep_id, "entity": entity}
        try:  # from wandb 0.30 on
            from wandb import Api
            from wandb.apis.public.sweeps import _agent_heartbeat, _register_agent

            api = Api()
            agent = _register_agent(api, host, project=project, **sweep)
            self._heartbeat = partial(_agent_heartbeat, api, agent["id"], {})
        except ImportError:
            from wandb.sdk.internal.internal_api import Api as InternalApi

            internal = InternalApi()
            agent = internal.register_agent(host, project_name=project, **sweep)
            self._heartbeat = partial(internal.agent_heartbeat, agent["id"], {})

    def ask(self, active: Collection[str]) -> list[dict[str, Any]]:
        """Return W&B's commands for this agent.

        An agent without active runs gets the next trial. Commands are of the form
        ``{"type": "run", "run_id": ..., "args": {name: {"value": ...}}}``, or stop, or exit.
        """
        return list(self._heartbeat(dict.fromkeys(active, True)))
