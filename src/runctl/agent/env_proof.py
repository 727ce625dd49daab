"""Does an environment work on this machine? What worked where it was built is tried where it was restored.

Whoever stores an environment tries its modules, its compiled extensions and its entry points once, and writes down some
that are quick; whoever restores it tries exactly those. So a package that could never be imported alone proves nothing,
and one that takes seconds costs nobody seconds.
"""

from __future__ import annotations

import json
import os
import subprocess

TYPE_CHECKING = False  # what ``typing`` would say, without its 5 ms
if TYPE_CHECKING:
    from typing import Any

QUICK = 0.5  # seconds that all chosen checks may take together where they were measured
MOST = 40  # checks
LEARN_SECONDS = 30.0  # to try everything
PROVE_SECONDS = 60.0  # to try what was chosen, on a machine that may read its disk for the first time
KINDS = ("import", "extension", "entry")

# Runs in the environment. Reads [[kind, name]…], or null: whatever the installed packages offer. Says one line for each.
PROGRAM = r"""
import importlib, json, os, sys, time
from importlib import machinery, metadata
wanted = json.loads(sys.argv[1])
out = os.dup(1)
os.dup2(2, 1)
def say(value):
    os.write(out, json.dumps(value).encode() + b"\n")
say([sys.prefix, list(sys.version_info[:3])])
def offered():
    for dist in metadata.distributions():
        files = [str(one) for one in dist.files or ()]
        tops = {one.split("/")[0] for one in files if one.endswith("/__init__.py") and one.count("/") == 1}
        tops |= {one[:-3] for one in files if one.endswith(".py") and "/" not in one}
        yield from (["import", top] for top in sorted(tops) if top.isidentifier())
        for suffix in machinery.EXTENSION_SUFFIXES[:1]:
            for one in [one for one in files if one.endswith(suffix) and not one.startswith(".")][:5]:
                yield ["extension", one[:-len(suffix)].replace("/", ".")]
        for point in dist.entry_points:
            if point.group == "console_scripts":
                yield ["entry", point.value.partition("[")[0].strip()]
def attempt(name):
    module, _, attribute = name.partition(":")
    found = importlib.import_module(module)
    for part in filter(None, attribute.split(".")):
        found = getattr(found, part)
path = list(sys.path)
for kind, name in list(offered()) if wanted is None else wanted:
    sys.path[:] = path  # some packages (setuptools) add folders of their own: what lies there is not offered
    began = time.perf_counter()
    try:
        attempt(name)
        why = ""
    except BaseException as error:
        why = "%s: %s" % (type(error).__name__, error)
    say([kind, name, time.perf_counter() - began, why])
"""


def learn(python: str) -> list[list[str]]:
    """Checks to be done after a restore, as ``[kind, name]``: the quickest, and one of each kind where there is one."""
    found = _tried(python, None, LEARN_SECONDS)[1:]
    good = sorted((each for each in found if not each[3]), key=lambda each: float(each[2]))
    chosen = [next((each for each in good if each[0] == kind), None) for kind in KINDS]
    out = [each for each in chosen if each is not None]
    spent = sum(each[2] for each in out)
    for each in good:
        if each not in out and len(out) < MOST and spent + each[2] <= QUICK:
            out.append(each)
            spent += each[2]
    checks = [each[:2] for each in out]
    again = _tried(python, checks, PROVE_SECONDS)[1:]
    return [each[:2] for each in again if not each[3]]  # none that only works after another one


def prove(python: str, folder: str, version: tuple[int, ...], checks: list[list[str]]) -> str:
    """Why the environment does not work here; empty when it does."""
    lines = _tried(python, checks, PROVE_SECONDS)
    if not lines:
        return "its Python does not start"
    if [os.path.realpath(lines[0][0]), lines[0][1]] != [os.path.realpath(folder), list(version)]:
        return "its Python is %s in %s" % (".".join(map(str, lines[0][1])), lines[0][0])
    for each in lines[1:]:
        if each[3]:
            return "%s fails: %s" % (each[1], each[3])
    if len(lines) - 1 < len(checks):
        return "%s ends the process, or hangs" % checks[len(lines) - 1][1]
    return ""


def _tried(python: str, checks: list[list[str]] | None, seconds: float) -> list[list[Any]]:
    """What the program said until it ended, or until it was ended."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    env.update(RUNCTL_GATE="off", CUDA_VISIBLE_DEVICES="", PYTHONDONTWRITEBYTECODE="1")
    try:
        process = subprocess.Popen(
            [python, "-I", "-B", "-c", PROGRAM, json.dumps(checks)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            cwd="/",
        )
    except OSError:
        return []
    try:
        said = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        said = process.communicate()[0]
    lines = said.splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith(b"\n")]
