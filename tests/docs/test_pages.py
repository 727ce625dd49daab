"""What the pages written by hand say is true: their commands run or at least parse, their links lead somewhere.

A ```sh or ```python block after ``<!-- run: WORLD -->`` is executed, block after block, in one world for each page, and has to exit
with 0. ``; until: TEXT`` waits afterwards for TEXT in the output of the newest run. A block after
``<!-- file: NAME -->`` is first written into that world. Every other line that starts with ``runctl`` has to parse, and
every ``make`` target, command and option that is mentioned has to exist.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.agentbox import until
from tests.conftest import World
from tests.sshbox import ssh_box
from tests.unit.sandbox.cloud_world import sandbox

from runctl.cli import parsing
from runctl.cli.commands import COMMANDS

REPO = Path(__file__).parents[2]
WHEELS = REPO / ".venv" / "wheels"
GENERATED = "<!-- written by `make docs`"
PAGES = {
    str(path.relative_to(REPO)): path
    for path in [
        REPO / "README.md",
        *sorted((REPO / "docs").rglob("*.md")),
        *sorted((REPO / "examples").glob("*/README.md")),
    ]
    if not path.read_text().startswith(GENERATED)
}
FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^>]+) -->\n)?^```(?P<kind>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
INDENTED = re.compile(r"^\n(?: {4}.*\n)+", re.MULTILINE)
SCRIPTS_OWN = {
    "--epochs",
    "--pause",
    "--fresh",
    "--keep",
    "--lr",
    "--steps",
    "--rate",
}  # options of the example scripts
each_page = pytest.mark.parametrize("page", PAGES.values(), ids=list(PAGES))


class Block(NamedTuple):
    """A fenced block: its language, its text, and what the comment before it asks for."""

    kind: str
    body: str
    marks: dict[str, str]


def blocks(page: Path) -> list[Block]:
    found = []
    for match in FENCE.finditer(page.read_text()):
        parts = [part.partition(":") for part in (match["mark"] or "").split(";")]
        marks = {name.strip(): value.strip() for name, _, value in parts if name.strip()}
        found.append(Block(match["kind"], match["body"], marks))
    return found


# --- executed


@contextmanager
def digits(world: World) -> Iterator[Path]:
    """The folder of the examples, and installers that know the wheels on disk only."""
    if not list(WHEELS.glob("scikit_learn-*")):
        pytest.skip("the wheels were not fetched: run `make test`, or sh tests/wheels.sh .venv/wheels")
    for name in [name for name in world.env if name.startswith(("PIP_", "UV_"))]:
        del world.env[name]
    world.env |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(WHEELS)}
    world.env |= {"UV_NO_CONFIG": "1", "UV_CACHE_DIR": str(world.root / "uv-cache")}
    base = world.root / "checkout"
    left = shutil.ignore_patterns("checkpoints", "__pycache__")
    shutil.copytree(REPO / "examples", base / "examples", ignore=left)
    yield base


@contextmanager
def empty(world: World) -> Iterator[Path]:
    """A new project without anything in it."""
    yield world.project({".runctl.toml": ""})


@contextmanager
def account(world: World) -> Iterator[Path]:
    """A new project, and a sandbox in the place of AWS."""
    with empty(world) as folder, sandbox(world.root / "cloud", "--plain") as box:
        world.env |= box.values
        yield folder


@contextmanager
def host(world: World) -> Iterator[Path]:
    """A new project, and a host that ssh knows as ``gpubox``."""
    (world.root / "there").mkdir()
    with empty(world) as folder, ssh_box(world.root / "box", env={"HOME": str(world.root / "there")}) as box:
        world.env["RUNCTL_SSH_CONFIG"] = str(box.config)
        yield folder


@contextmanager
def both(world: World) -> Iterator[Path]:
    """As ``host``, with an account beside it."""
    with host(world) as folder, sandbox(world.root / "cloud", "--plain") as box:
        world.env |= box.values
        yield folder


@contextmanager
def ready(world: World) -> Iterator[Path]:
    """As ``account``, which is prepared, with a script and data in the project; whoever is asked says yes."""
    with account(world) as folder:
        done = world.runctl("aws", "setup", "--yes")
        assert done.code == 0, done.err
        files = {"train.py": 'print("trained")\n', "data/train.csv": "1,2\n"}
        world.project(files, name=str(folder.relative_to(world.root)))
        answering = world.project(
            {"runctl": '#!/bin/sh\nexec python -m runctl --yes "$@"\n'}, name="answering"
        )
        (answering / "runctl").chmod(0o755)
        world.env["PATH"] = f"{answering}:{world.env['PATH']}"
        yield folder


WORLDS: dict[str, Callable[[World], AbstractContextManager[Path]]] = {
    "digits": digits,
    "empty": empty,
    "account": account,
    "host": host,
    "both": both,
    "ready": ready,
}
EXECUTED = [name for name, path in PAGES.items() if any("run" in block.marks for block in blocks(path))]


def test_the_pages_for_beginners_are_executed() -> None:
    guides = {
        f"docs/guides/{name}.md"
        for name in ("scripts", "json", "python", "aws", "aws-train", "sync", "data", "ssh", "ssh-to-ssm")
    }
    first = {f"docs/{name}.md" for name in ("index", "quickstart", "concepts", "examples")}
    assert {*first, "docs/guides/aws-machines.md", *guides} <= set(EXECUTED)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", EXECUTED)
def test_marked_blocks_run(name: str, world: World) -> None:
    found = blocks(PAGES[name])
    (kind,) = {block.marks["run"] for block in found if "run" in block.marks}
    world.env["PATH"] = f"{Path(sys.executable).parent}:{world.env['PATH']}"
    with WORLDS[kind](world) as folder:
        try:
            for block in found:
                if "file" in block.marks:
                    (folder / block.marks["file"]).write_text(block.body)
                if "run" in block.marks:
                    run_block(block, world, folder)
        finally:
            for run in world.runctl("runs", "--state", "active", "--json").json():
                world.runctl("cancel", run["name"], "--grace", "0")


def run_block(block: Block, world: World, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-"] if block.kind == "python" else ["sh", "-eu"],
        input=block.body,
        cwd=folder,
        env=world.env,
        text=True,
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{block.body}\n{done.stdout}\n{done.stderr}"
    wanted = block.marks.get("until")
    if wanted:
        until(lambda: wanted in world.runctl("logs", "latest").out, f"the newest run prints {wanted!r}", 60)


# --- parsed


def command_lines(page: Path) -> list[list[str]]:
    """The words of every ``runctl`` and ``make`` line in the blocks, up to what a shell would do with their output."""
    found = []
    fenced = (block.body for block in blocks(page) if block.kind in ("sh", "console", ""))
    indented = (match[0] for match in INDENTED.finditer(FENCE.sub("", page.read_text())))
    for body in (*fenced, *indented):
        for typed in whole_lines(body):
            plain = typed.strip().removeprefix("$ ")
            inner = re.fullmatch(r"\w+=\$\((.+)\)", plain)
            line = inner[1] if inner else plain
            if line.startswith(("runctl ", "make ")):
                found.append(words_of(line))
    return found


def whole_lines(text: str) -> Iterator[str]:
    """Its lines; one that ends within quotes goes on in the next."""
    begun = ""
    for line in text.splitlines():
        begun = f"{begun}\n{line}" if begun else line
        if begun.count("'") % 2 == 0:
            yield begun
            begun = ""


def words_of(line: str) -> list[str]:
    """A command line as words: comments, and what follows a pipe or a redirection, are cut off."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    words = list(lexer)
    end = next((n for n, word in enumerate(words) if word[:1] in "|>&"), len(words))
    return words[:end]


def parse(words: list[str]) -> None:
    """As ``runctl`` itself would; raises its error."""
    line = parsing.read(words)
    if line.problem:
        raise line.problem
    if line.command in ("--version", "--help", "help"):
        return
    assert line.command in COMMANDS, words
    parsing.parse(line)


@each_page
def test_every_command_line_parses(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    for words in command_lines(page):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        else:
            parse(words[1:])


def inline_code(page: Path) -> list[str]:
    """What stands between back-ticks outside of the blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", page.read_text()))


def options_of(command: str) -> set[str]:
    """Every option of a command, its sub-commands included."""
    parser = parsing.parser_for(command)
    nested = [sub for sub in parser.subcommands().values() if isinstance(sub, parsing.Parser)]
    return set(parser.options()).union(*(sub.options() for sub in nested))


@each_page
def test_every_command_and_option_that_is_mentioned_exists(page: Path) -> None:
    known = {name: options_of(name) for name in COMMANDS}
    anywhere = set[str]().union(*known.values()) | SCRIPTS_OWN | {"--version", "--help"}
    for code in inline_code(page):
        words = code.split(" -- ")[0].split()
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        if words[0] == "runctl" and len(words) > 1:
            command = words[1]
            assert command in COMMANDS or command.startswith("-") or not command.islower(), code
            assert options <= known.get(command, anywhere), code
        elif words[0].startswith("--"):
            assert options <= anywhere, code
        elif words[0] == "make" and len(words) == 2:
            assert f"\n{words[1]}:" in (REPO / "Makefile").read_text(), code


# --- links


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text())):
        if target.startswith(("http:", "https:", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert there.is_relative_to(REPO), target
        if anchor:
            assert anchor in anchors(there), target


# --- the checks themselves notice


@pytest.mark.parametrize(
    "line",
    [
        "runctl trian x.py",
        "runctl train x.py --epoch 3",
        "runctl runs extra",
        "runctl logs",
        "runctl show x -- y",
    ],
)
def test_a_wrong_line_is_noticed(line: str) -> None:
    with pytest.raises((parsing_error(), AssertionError)):
        parse(words_of(line)[1:])


def parsing_error() -> type[Exception]:
    from runctl.core.errors import UsageError

    return UsageError


def test_lines_of_indented_blocks_are_found() -> None:
    found = command_lines(REPO / "docs" / "guides" / "volumes.md")
    assert ["runctl", "aws", "ebs", "detach", "data"] in found
    assert ["runctl", "train", "train.py", "--on", "aws", "--cache-volume=lab"] in found


def test_words_end_where_the_shell_takes_over() -> None:
    assert words_of("runctl logs x --tail 2  # the end") == ["runctl", "logs", "x", "--tail", "2"]
    assert words_of("runctl runs --json | jq '.[0]'") == ["runctl", "runs", "--json"]
    assert words_of('runctl attach "$name" > out.txt') == ["runctl", "attach", "$name"]
