"""The image of a run: there, or pulled, with its progress told and its failures named."""

from __future__ import annotations

import os
import re
import time

from runctl.agent import engines, registry_login
from runctl.agent.failure import AgentFailure

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from runctl.agent.home import RunFolder
    from runctl.agent.prepare import Step

RETRY_AFTER = (2.0, 10.0)  # seconds before each further pull after a failure of the network
SLICE = 0.1
_LAYER = re.compile(r"(?:Copying (?:blob|config) )?(?:sha256:)?([0-9a-f]{10,64})\b(.*)")
_DONE = ("done", "complete", "exists", "skipped")
# Read in this order: a registry that hides what one may not see says both that it is missing and that it is denied.
_WORDS = (
    ("disk-full", ("no space left on device", "disk quota exceeded")),
    (
        "image-refused",
        (
            "unauthorized",
            "denied",
            "authentication required",
            "no basic auth",
            "forbidden",
            "invalid username",
        ),
    ),
    (
        "image-missing",
        ("manifest unknown", "not found", "name unknown", "does not exist", "invalid reference"),
    ),
    (
        "image-network",
        ("dial tcp", "timeout", "timed out", "connection re", "no such host", "eof", "tls", "http response"),
    ),
)


def ensure(image: str, *, step: Step, run: RunFolder, cancelled: Callable[[], bool]) -> str:
    """The engine that has the image now; pulls it where it is not there. Safe to repeat.

    Raises:
        AgentFailure: ``container-engine-missing``; ``cancelled``; why it cannot be pulled.
    """
    found = engines.describe(image)
    engine = str(found["engine"])
    if not engine:
        why = "; ".join("%s: %s" % (one["engine"], one["why"]) for one in found["tried"])
        raise AgentFailure("container-engine-missing", detail=why or "neither docker nor podman is installed")
    if found["present"]:
        step.summary, step.skipped = "%s has it" % engine, True
        return engine
    for pause in (*RETRY_AFTER, None):
        with registry_login.login(engine, image, run.login, cancelled=cancelled) as command:
            words = _pull([*command, "pull", image], step=step, folder=run.path, cancelled=cancelled)
        if words is None:
            step.summary = "pulled by %s" % engine
            return engine
        code = reason(words)
        if code != "image-network" or pause is None:
            raise _failure(code, image, words, run.path)
        _wait(pause, cancelled)
    raise AssertionError("the last try returns or raises")


def reason(words: str) -> str:
    """The code for what an engine says of a pull that failed. Pure."""
    lower = words.lower()
    for code, signs in _WORDS:
        if any(sign in lower for sign in signs):
            return code
    return "image-not-pulled"


def _failure(code: str, image: str, words: str, folder: str) -> AgentFailure:
    if code == "disk-full":
        from runctl.agent.home import free_bytes  # noqa: PLC0415 - only then

        return AgentFailure(code, path=image, free_bytes=free_bytes(folder))
    return AgentFailure(code, image=image, detail=words)


def _pull(argv: list[str], *, step: Step, folder: str, cancelled: Callable[[], bool]) -> str | None:
    """None when it worked; else the engine's last words."""
    from runctl.agent import install_process  # noqa: PLC0415 - only where something is pulled

    layers: dict[str, bool] = {}
    last = [""]

    def heard(text: str, _stays: object) -> None:
        last[0] = text
        found = _LAYER.match(text)
        if found is not None:
            name = found.group(1)[:12]
            layers[name] = layers.get(name, False) or any(word in text.lower() for word in _DONE)
            step.progress(sum(layers.values()), len(layers), text[:80], unit="layers")

    code = install_process.run(
        argv,
        cwd=folder,
        env=os.environ,
        terminal=True,  # without one, podman does not say which layers are done
        keep_open=2,
        on_start=lambda _group: None,
        on_text=heard,
        on_tick=lambda: None,
        cancelled=cancelled,
    )
    return None if code == 0 else last[0] or "exit status %d" % code


def _wait(seconds: float, cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if cancelled():
            raise AgentFailure("cancelled", step="image")
        time.sleep(SLICE)
