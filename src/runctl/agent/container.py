"""The script in a container: what its engine is told, which process it is, and taking it away.

The container brings its file system and nothing else: processes, network and shared memory are the machine's, so that
the script is seen, told to end and counted as any other, and reaches what the machine reaches.
"""

from __future__ import annotations

import os
import shutil
import zlib

from runctl.agent import engines, processes
from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from runctl.agent.home import RunFolder
    from runctl.agent.script import Child, Ended

LOOK = 0.05  # seconds between two looks for a container that starts
TAIL = 4096  # bytes of output in which an engine says why it did not start
NOT_STARTED = (125, 126, 127)  # what an engine exits with; a script may, too
# What the engine's own command reads, or what the machine's loader reads on its behalf.
_ENGINES_OWN = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "LD_",
    "DOCKER",
    "CONTAINER",
    "XDG_",
    "REGISTRY_",
    "SSL_",
)


class Container:
    """One run's container, named after the run. Nothing is started here."""

    def __init__(self, run: RunFolder, *, engine: str, image: str) -> None:
        self._run, self._image = run, image
        self.engine = engine
        self.name = name_of(run)
        self.pid = 0  # the script's process, once it was seen

    def argv(
        self,
        command: Sequence[str],
        variables: Mapping[str, str],
        *,
        secret: Sequence[str],
        folders: Sequence[str],
    ) -> list[str]:
        """What starts it. A secret stands here by its name alone: its value comes from the environment."""
        argv = [self.engine, "run", "--rm", "--name", self.name, "--label", "runctl.run=" + self._run.id]
        argv += [
            "--pid=host",
            "--network=host",
            "--ipc=host",
            "--log-driver=none",
            "--security-opt=label=disable",
        ]
        argv += [*self._user(), *self._gpus(), "--workdir", self._run.code, "--entrypoint", command[0]]
        for folder in folders:
            argv += ["--mount", "type=bind,%s,%s" % (field("source", folder), field("target", folder))]
        for name, value in sorted(variables.items()):
            argv += ["--env", name if by_name(name, secret) else "%s=%s" % (name, value)]
        return [*argv, self._image, *command[1:]]

    def _user(self) -> list[str]:
        uid, gid = os.getuid(), os.getgid()
        if uid and self.engine == "podman":
            return ["--userns=keep-id"]
        more = [
            part for group in os.getgroups() if uid and group != gid for part in ("--group-add", str(group))
        ]
        return ["--user", "%d:%d" % (uid, gid), *more]

    def _gpus(self) -> list[str]:
        if shutil.which("nvidia-smi") is None:
            return []
        from runctl.agent import probe  # noqa: PLC0415 - only where there may be one

        if not probe.gpus():
            return []
        return ["--device", "nvidia.com/gpu=all"] if self.engine == "podman" else ["--gpus", "all"]

    def start(
        self, command: Sequence[str], request: dict[str, Any], *, inputs: Mapping[str, str], data: str
    ) -> Child:
        """Start ``command`` in it; the engine's own command is our child. Raises as ``script.start``."""
        from runctl.agent import script  # noqa: PLC0415 - it is there already when this runs

        script.make_folders(self._run)
        wanted = variables(self._run, request, inputs)
        secret = request.get("secret_env") or ()
        env = dict(os.environ)
        env.update((name, value) for name, value in wanted.items() if by_name(name, secret))
        seen = folders(self._run, request, data)
        return script.start(self.argv(command, wanted, secret=secret, folders=seen), env=env, run=self._run)

    def await_start(self, child: Child, pause: Callable[[float], None]) -> None:
        """Until the script's process is known, or the engine's command has ended."""
        while not child.has_ended():
            found = find({"engine": self.engine, "name": self.name})
            if found is not None:
                self.pid = found["pid"]
                return
            pause(LOOK)

    def check_started(self, ended: Ended) -> None:
        """Raise ``container-not-started`` where it was the engine that failed, not the script."""
        if self.pid or ended.exit_code not in NOT_STARTED:
            return
        with open(self._run.output, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        said = [line for line in lines if line.startswith(("Error:", "docker:"))]
        if said:
            raise AgentFailure("container-not-started", image=self._image, detail=said[-1])


def field(name: str, value: str) -> str:
    """One field of ``--mount``, which engines read as a line of CSV. Pure."""
    text = "%s=%s" % (name, value)
    return '"%s"' % text.replace('"', '""') if '"' in text or "," in text else text


def by_name(name: str, secret: Sequence[str]) -> bool:
    """Whether a variable's value comes from the environment of the engine's command. Pure.

    Not runctl's own, which mark a process as the script's, and not what the command itself would read.
    """
    return name in secret or not name.startswith(("RUNCTL_", *_ENGINES_OWN))


def name_of(run: RunFolder) -> str:
    """What the run's container is called: two homes may know the same id."""
    return "runctl-%s-%08x" % (run.id, zlib.crc32(os.fsencode(run.path)))


def variables(run: RunFolder, request: dict[str, Any], inputs: Mapping[str, str]) -> dict[str, str]:
    """The script's own variables; the machine's stay outside. A user the image does not know gets a HOME and a name."""
    from runctl.agent import script  # noqa: PLC0415 - it is there already when this runs

    stranger = {"HOME": "/tmp", "USER": "runctl", "LOGNAME": "runctl"} if os.getuid() else {}  # noqa: S108 - the image's
    return script.variables(request, run=run, inherited=stranger, environment={}, inputs=inputs)


def folders(run: RunFolder, request: Mapping[str, Any], data: str) -> list[str]:
    """What the script sees of the machine, each at its own path: code, checkpoints, outputs, data, what it resumes."""
    found = [run.code, run.checkpoints, run.outputs]
    found += [path for path in (run.data, run.resume, data) if os.path.isdir(path)]
    resume = request.get("resume_from")
    if isinstance(resume, str):
        found.append(os.path.dirname(os.path.abspath(resume)))
    return list(dict.fromkeys(found))


def find(known: Mapping[str, str]) -> dict[str, Any] | None:
    """The identity of the process in a container, asked of its engine; None where none runs. Read-only."""
    code, text = engines.call([known["engine"], "inspect", "--format", "{{.State.Pid}}", known["name"]])
    return processes.identity(int(text)) if code == 0 and text.isdigit() and int(text) else None


def remove(known: Mapping[str, str] | None) -> None:
    """Take a run's container away, whatever it does. ``known`` is what its status says of it. Safe to repeat."""
    if known:
        engines.call([known["engine"], "rm", "--force", known["name"]])
