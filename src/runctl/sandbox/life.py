"""A sandbox seen from outside: start it, find it, ask it, end it. Standard library only, so that ``status`` is quick."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from runctl.core.catalogue import known
from runctl.sandbox.state import lives, read_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

START_SECONDS = 30.0  # a cold disk and a busy machine; the usual start is under one
END_SECONDS = 20.0  # until a sandbox that was asked to end is killed
ASK_SECONDS = 60.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# what of the user's own settings would send a program elsewhere, or as somebody else
_HIDDEN = (
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SESSION_TOKEN",
    "AWS_SECURITY_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CA_BUNDLE",
    "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
    "AWS_USE_FIPS_ENDPOINT",
    "AWS_USE_DUALSTACK_ENDPOINT",
)


DIRECT = ("NO_PROXY", "no_proxy")  # whom clients ask without the user's proxy: the sandbox too


class Up(NamedTuple):
    """A running sandbox, and whether this call started it."""

    record: dict[str, Any]
    started: bool


def folder_of(env: Mapping[str, str], name: str, *, state_dir: Path) -> Path:
    """The folder of a sandbox: ``$RUNCTL_SANDBOX_DIR/NAME``, else ``sandbox/NAME`` of runctl's state folder.

    Raises:
        UsageError: ``sandbox-name`` when the name cannot be a folder's.
    """
    if not _NAME.fullmatch(name):
        raise known("sandbox-name", name=name)
    given = env.get("RUNCTL_SANDBOX_DIR", "")
    return (Path(given).absolute() if given else state_dir / "sandbox") / name


def names(env: Mapping[str, str], *, state_dir: Path) -> list[str]:
    """Every sandbox that has a folder here, running or not."""
    base = folder_of(env, "default", state_dir=state_dir).parent
    return (
        sorted(path.name for path in base.iterdir() if (path / "sandbox.json").exists())
        if base.is_dir()
        else []
    )


def find(folder: Path) -> dict[str, Any]:
    """The record of a running sandbox.

    Raises:
        UnreachableError: ``sandbox-down``.
    """
    record = read_record(folder)
    if record is None or not lives(record):
        raise known("sandbox-down", name=folder.name)
    return record


def up(
    folder: Path,
    *,
    check: Callable[[], None],
    port: int | None = None,
    region: str | None = None,
    seed: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Up:
    """Start a sandbox in the background and return when it listens; one that runs already is left as it is.

    Two calls at once start one sandbox. A cancelled start (``check`` raises) leaves nothing running. None leaves an
    option to the sandbox: any free port, us-east-1, seed 0.

    Raises:
        UsageError: ``sandbox-extra`` when the extra is not installed, ``sandbox-setting`` for a setting that is none,
            ``sandbox-running`` when one runs that was started with other options.
        InternalError: ``sandbox-start`` with what its log says.
    """
    _need_extra()
    _check_settings(settings or {})
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(folder):
        record = read_record(folder)
        asked = {name: str(value) for name, value in _given(port, region, seed).items()}
        more = [f"{name}={value}" for name, value in (settings or {}).items()]
        if record is not None and lives(record):
            _check_same(record, asked, settings or {})
            return Up(record, started=False)
        words = ["--name", folder.name, *(f"--{name}={value}" for name, value in asked.items())]
        words += [word for pair in more for word in ("--set", pair)]
        _start(folder, words, check)
        return Up(find(folder), started=True)


def _check_settings(given: Mapping[str, str]) -> None:
    from runctl.sandbox.settings import BadSetting, check  # noqa: PLC0415 - only for a start

    try:
        check(given)
    except BadSetting as error:
        raise known("sandbox-setting", reason=error) from error


def _given(port: int | None, region: str | None, seed: int | None) -> dict[str, Any]:
    return {k: v for k, v in (("port", port), ("region", region), ("seed", seed)) if v is not None}


def _check_same(record: Mapping[str, Any], asked: Mapping[str, str], settings: Mapping[str, str]) -> None:
    """Raises UsageError ``sandbox-running`` when a running sandbox is not as it is asked for now."""
    other = [
        f"--{name} {value}"
        for name, value in asked.items()
        if str(record.get(name)) != value and value != "0"
    ]
    held = record.get("settings", {})
    other += [f"--set {name}={value}" for name, value in settings.items() if held.get(name) != value]
    if other:
        raise known("sandbox-running", name=record["name"], other=", ".join(other))


def _start(folder: Path, words: list[str], check: Callable[[], None]) -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    try:
        with open(folder / "log", "ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "runctl.sandbox.process", str(folder), *words, "--ready", str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(writer,),
                start_new_session=True,
                cwd=folder,
                env={name: value for name, value in os.environ.items() if name not in _HIDDEN},
            )
        os.close(writer)
        writer = -1
        try:
            answer = _wait_for_line(reader, child, check)
        except BaseException:
            _end_process(child.pid, child.poll)
            raise
        if "port" not in answer:
            child.wait(END_SECONDS)
            reason = answer.get("error", "it ended at once")
            raise known("sandbox-start", reason=reason, log=folder / "log", name=folder.name)
        child.returncode = 0  # it lives on without us: no warning when this object is dropped
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def _wait_for_line(reader: int, child: subprocess.Popen[bytes], check: Callable[[], None]) -> dict[str, Any]:
    import select  # noqa: PLC0415 - only for a start

    data = b""
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit:
        check()
        if select.select([reader], [], [], 0.1)[0]:
            piece = os.read(reader, 65536)
            data += piece
            if not piece or data.endswith(b"\n"):
                return dict(json.loads(data)) if data else {}
        elif child.poll() is not None:
            return {}
    _end_process(child.pid, child.poll)
    return {"error": f"it did not listen within {START_SECONDS:.0f} s"}


def down(folder: Path, *, keep: bool = False) -> bool:
    """End a sandbox and remove its folder; whether there was anything. Safe to repeat, also after ``kill -9``.

    With ``keep`` the folder stays, for its log and its objects.

    Raises:
        OSError: something of it cannot be removed.
    """
    if not folder.is_dir():
        return False
    with _locked(folder):
        record = read_record(folder)
        if record is not None and lives(record):
            _end_process(int(record["pid"]), lambda: None if lives(record) else 0)
        _sweep(folder)
        (folder / "sandbox.json").unlink(missing_ok=True)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            shutil.rmtree(folder)  # once more: what was written while the first one ran
    return True


def _sweep(folder: Path) -> None:
    """What instances left in the system, should the sandbox have been killed."""
    if (folder / "machines").is_dir():
        from runctl.sandbox.instances.janitor import sweep  # noqa: PLC0415 - only where there were instances
        from runctl.sandbox.instances.layout import Layout  # noqa: PLC0415

        sweep(Layout((folder / "machines").resolve()))


def _end_process(pid: int, ended: Callable[[], int | None]) -> None:
    """TERM, then KILL after ``END_SECONDS``."""
    for number, seconds in ((signal.SIGTERM, END_SECONDS), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if ended() is not None:
                return
            time.sleep(0.01)


def ask(record: Mapping[str, Any], method: str, route: str, body: Any = None) -> Any:
    """Send one control request to a running sandbox; gives the JSON it answers.

    Raises:
        UsageError: ``sandbox-refused`` with what it says.
        UnreachableError: ``sandbox-down``.
    """
    connection = http.client.HTTPConnection("127.0.0.1", record["port"], timeout=ASK_SECONDS)
    try:
        connection.request(
            method,
            f"/_sandbox/{route}",
            None if body is None else json.dumps(body),
            {"x-runctl-sandbox": record["control_token"]},
        )
        answer = connection.getresponse()
        said = json.loads(answer.read() or b"{}")
    except (OSError, http.client.HTTPException) as error:
        raise known("sandbox-down", name=record["name"]) from error
    finally:
        connection.close()
    if answer.status != 200:
        verb = {"hosts": "ssh-host", "weather": "weather"}.get(route.partition("/")[0], route)
        raise known(
            "sandbox-refused",
            why=str(said.get("error", answer.status)),
            fix=[f"  runctl sandbox {verb} --help"],
        )
    return said


def variables(folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """The environment that makes every AWS and RunPod client talk to this sandbox, and to nothing else."""
    from runctl.sandbox.runpod import api_key  # noqa: PLC0415 - light, but only needed here

    return {
        "AWS_ENDPOINT_URL": record["endpoint"],
        "AWS_ACCESS_KEY_ID": record["access_key"],
        "AWS_SECRET_ACCESS_KEY": record["secret"],
        "AWS_REGION": record["region"],
        "AWS_DEFAULT_REGION": record["region"],
        "AWS_CONFIG_FILE": str(folder / "no-config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-credentials"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "RUNPOD_API_BASE_URL": record["endpoint"] + "/runpod",
        "RUNPOD_API_KEY": api_key(record["secret"]),
        "RUNCTL_SANDBOX": record["name"],
    }


def environment(env: Mapping[str, str], folder: Path, record: Mapping[str, Any]) -> dict[str, str]:
    """``env`` with ``variables`` in it, and without what would lead a client elsewhere."""
    kept = {
        name: value
        for name, value in env.items()
        if name not in _HIDDEN and not name.startswith("AWS_ENDPOINT_URL_")
    }
    direct = (kept.get("NO_PROXY") or kept.get("no_proxy") or "").split(",")
    loop = ",".join(filter(None, dict.fromkeys([*direct, "127.0.0.1", "localhost"])))
    return {**kept, **variables(folder, record), **dict.fromkeys(DIRECT, loop)}


def hidden(env: Mapping[str, str]) -> list[str]:
    """The variables to unset beside setting ``variables``: those that would lead a client elsewhere."""
    return [*_HIDDEN, *(name for name in env if name.startswith("AWS_ENDPOINT_URL_"))]


def _need_extra() -> None:
    from importlib.util import find_spec  # noqa: PLC0415 - only for a start

    missing = [name for name in ("moto", "boto3", "websockets") if find_spec(name) is None]
    if missing:
        raise known("sandbox-extra", missing=", ".join(missing))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One ``up`` or ``down`` of a sandbox at a time; the kernel lets go of the lock of a process that dies."""
    import fcntl  # noqa: PLC0415 - only to start and end

    with open(folder / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
