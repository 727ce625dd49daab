"""Write the pages that come from the code: commands, settings, errors. ``--check`` only says which are stale.

python -m docs.generate [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runctl.cli.commands import COMMANDS, GLOBAL_OPTIONS, TAKES_SCRIPT_ARGS
from runctl.cli.explain import blanks
from runctl.cli.init import template
from runctl.cli.parsing import Parser, parser_for
from runctl.core import errors
from runctl.core.catalogue import CATALOGUE
from runctl.project.settings import OTHER_VARIABLES, SETTINGS, as_toml

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from runctl.project.settings import Setting

HERE = Path(__file__).parent
NOTE = "<!-- written by `make docs` from the code; edit the code, not this page -->"

# the variables of OTHER_VARIABLES, in words; a test holds the two together
VARIABLES = {
    "RUNCTL_STATE_DIR": "where records of runs, their index and the ledger are kept; `~/.local/state/runctl` by default",
    "RUNCTL_HOME": "where the agent keeps runs, environments and blobs on a machine; `~/.runctl` by default",
    "RUNCTL_RUN_ID": "set for the script: the run's id",
    "RUNCTL_RUN_NAME": "set for the script: the run's name",
    "RUNCTL_ATTEMPT": "set for the script: 1, 2, ...",
    "RUNCTL_CHECKPOINT_DIR": "set for the script: where to save checkpoints",
    "RUNCTL_RESUME_PATH": "set for the script: the newest complete checkpoint; unset when there is none",
    "RUNCTL_DATA_DIR": "set for the script: where the data named by `data` is; unset when there is none",
    "RUNCTL_OUTPUT_DIR": "set for the script: what is written here is kept with the run, or copied to `output`",
}


def pages() -> dict[Path, str]:
    """Every generated page and its text."""
    return {
        HERE / "reference" / "cli.md": _page(cli_lines()),
        HERE / "reference" / "config.md": _page(config_lines()),
        HERE / "troubleshooting.md": _page(troubleshooting_lines()),
    }


def _page(lines: Iterable[str]) -> str:
    return "\n".join([NOTE, "", *lines]).rstrip() + "\n"


def _cell(text: str) -> str:
    """Text for a cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heads) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(map(_cell, row)) + " |"
    yield ""


def cli_lines() -> Iterator[str]:
    """The reference of all commands."""
    yield "# Commands"
    yield ""
    yield "`runctl [OPTIONS] COMMAND ...`. Data goes to stdout, everything else to stderr. Options are never abbreviated."
    yield ""
    yield "## Options of every command"
    yield ""
    yield "They may stand before or after the command."
    yield ""
    rows = [
        (f"`{', '.join(names)}{' ' + value if value else ''}`", text) for names, value, text in GLOBAL_OPTIONS
    ]
    yield from _table(("option", "meaning"), rows)
    for name, (_, summary, _) in COMMANDS.items():
        parser = parser_for(name)
        yield f"## runctl {name}"
        yield ""
        yield parser.description or f"{summary}."
        yield ""
        yield from _command(parser, takes_args=name in TAKES_SCRIPT_ARGS)
        for sub, below in parser.subcommands().items():
            assert isinstance(below, Parser)
            yield f"### runctl {name} {sub}"
            yield ""
            if below.description:
                yield below.description
                yield ""
            yield from _command(below, takes_args=False)


def _command(parser: Parser, *, takes_args: bool) -> Iterator[str]:
    actions = parser.own_actions()
    usage = [parser.prog]
    if any(action.option_strings for action in actions):
        usage.append("[OPTIONS]")
    usage += [_positional(action) for action in actions if not action.option_strings]
    if takes_args:
        usage.append("[-- ARGS...]")
    yield f"    {' '.join(usage)}"
    yield ""
    if actions and not parser.subcommands():
        yield from _table(("", "meaning"), [(_names(action), _help(action)) for action in actions])


def _value(action: argparse.Action) -> str:
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    name = action.metavar or action.dest.upper()
    return name if isinstance(name, str) else " ".join(name)


def _positional(action: argparse.Action) -> str:
    name = _value(action)
    return {"?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}..."}.get(str(action.nargs), name)


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{_positional(action)}`"
    return f"`{', '.join(action.option_strings)}{'' if action.nargs == 0 else ' ' + _value(action)}`"


def _help(action: argparse.Action) -> str:
    values: dict[str, Any] = {**vars(action), "choices": ", ".join(map(str, action.choices or ()))}
    return (action.help or "") % values


def config_lines() -> Iterator[str]:
    """The reference of all settings."""
    yield "# Settings"
    yield ""
    yield "Each layer is laid over the ones before it; lists replace, the variables in `env` are added one by one:"
    yield ""
    yield "1. what is built in"
    yield "2. the user's file, `$XDG_CONFIG_HOME/runctl/config.toml` (`~/.config/runctl/config.toml`)"
    yield "3. the project's file: `.runctl.toml`, or `[tool.runctl]` of `pyproject.toml`; `--config FILE` reads FILE instead"
    yield "4. `RUNCTL_...` variables; an empty one counts as unset, lists are separated by commas"
    yield "5. options of the command line"
    yield ""
    yield "`runctl config show --origin` prints each value with the file and line, variable or option it comes from."
    yield "`runctl config validate` lists everything that is wrong, at once."
    yield ""
    yield from _table(
        ("key", "takes", "default", "variable", "option"),
        [
            (f"[`{s.key}`](#{_anchor(s.key)})", s.wants, _default(s), _code(s.env), _code(s.flag))
            for s in SETTINGS.values()
        ],
    )
    for setting in SETTINGS.values():
        yield f"## {setting.key}"
        yield ""
        yield setting.doc
        yield ""
        section = setting.key.rpartition(".")[0]
        yield "```toml"
        if section:
            yield f"[{section}]"
        yield setting.example
        yield "```"
        yield ""
    yield "## What `runctl init` writes"
    yield ""
    yield "```toml"
    yield template().rstrip()
    yield "```"
    yield ""
    yield "## Other variables"
    yield ""
    yield from _table(("variable", "meaning"), [(f"`{name}`", VARIABLES[name]) for name in OTHER_VARIABLES])


def _anchor(heading: str) -> str:
    """The anchor that renderers give a heading: lower case, no dots."""
    return heading.lower().replace(".", "")


def _default(setting: Setting) -> str:
    return "unset" if setting.default is None else f"`{as_toml(setting.default)}`"


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def troubleshooting_lines() -> Iterator[str]:
    """One section for every error code."""
    yield "# Troubleshooting"
    yield ""
    yield "Every error has a code, in brackets after `error`; `runctl explain CODE` prints its section here, offline."
    yield "The exit status says who has to act:"
    yield ""
    families = sorted(errors.RunctlError.__subclasses__(), key=lambda family: family.exit_code)
    yield from _table(
        ("status", "meaning", "codes"),
        [
            (str(family.exit_code), (family.__doc__ or "").splitlines()[0], _codes(family))
            for family in families
        ],
    )
    for code in sorted(CATALOGUE):
        yield from _error(code)


def _codes(family: type[errors.RunctlError]) -> str:
    return ", ".join(f"[{code}](#{code})" for code in sorted(CATALOGUE) if CATALOGUE[code].family is family)


def _error(code: str) -> Iterator[str]:
    entry = CATALOGUE[code]
    yield f"## {code}"
    yield ""
    yield f"You see: {_literal(f'error[{code}]: {blanks(entry.what)}')}"
    yield ""
    if entry.why:
        yield f"Cause: {blanks(entry.why)}"
        yield ""
    yield entry.explain
    yield ""
    if entry.fix:
        yield "Fix:"
        yield ""
        yield from _fix(entry.fix)
    yield f"Exit status {entry.family.exit_code}." + (" It may pass by itself." if entry.transient else "")
    yield ""


def _literal(text: str) -> str:
    """Text in code type, back-ticks of its own included."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _fix(lines: Iterable[str]) -> Iterator[str]:
    """Fix lines: prose as an item, a command as code."""
    for line in lines:
        text = blanks(line)
        yield f"- {_literal(text.strip())}" if text.startswith("  ") else f"- {text}"
    yield ""


def stale() -> list[Path]:
    """The pages whose text is not what the code says."""
    return [path for path, text in pages().items() if not path.is_file() or path.read_text() != text]


def main(argv: Sequence[str]) -> int:
    """Write what is stale, or with ``--check`` only name it and fail."""
    check = list(argv) == ["--check"]
    for path in (found := stale()):
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages()[path])
        sys.stderr.write(f"{'stale' if check else 'wrote'} {path.relative_to(HERE.parent)}\n")
    return 1 if check and found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
