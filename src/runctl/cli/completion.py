"""``runctl completion SHELL`` prints the script a shell loads; ``answer`` is what that script asks at each Tab."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from runctl.cli.commands import COMMANDS, GLOBAL_OPTIONS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping

    from runctl.cli.session import Session

SHELLS = {"bash": "~/.bashrc", "zsh": "~/.zshrc", "fish": "~/.config/fish/config.fish"}
_LOAD = {"fish": "runctl completion fish | source"}  # the others: eval "$(...)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl completion``."""
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell to complete for")
    parser.epilog = "\n".join(
        ["to load it in every new shell, add one line to its start-up file:"]
        + [f"  {start:28}{_load_line(shell)}" for shell, start in SHELLS.items()]
    )


def _load_line(shell: str) -> str:
    return _LOAD.get(shell, f'eval "$(runctl completion {shell})"')


def run(args: argparse.Namespace, session: Session) -> int:
    """Print the script."""
    from argcomplete.shell_integration import shellcode  # noqa: PLC0415 - 25 ms, only here and while completing

    script = shellcode(["runctl"], shell=args.shell)
    if args.shell == "zsh":
        # outside of a compinit'ed shell the functions the script registers with are not there yet
        script = "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n" + script
    session.out(script)
    return 0


def answer() -> int:
    """Answer one Tab, in argcomplete's protocol: the line in the environment, the words on a descriptor of its own.

    Never fails: a broken configuration or index completes less, not with an error in the middle of a prompt.
    """
    import argcomplete  # noqa: PLC0415 - as above
    from argcomplete.lexers import split_line  # noqa: PLC0415 - as above

    line = os.environ.get("COMP_LINE", "")
    point = int(os.environ.get("COMP_POINT", str(len(line))))
    before = line.encode()[:point].decode(errors="ignore")
    words = split_line(before)[3]
    parser = _parser(words[1:])
    argcomplete.autocomplete(parser, always_complete_options=False, exit_method=sys.exit)
    return 1  # autocomplete has ended the process


def _parser(words: list[str]) -> argparse.ArgumentParser:
    """The parser for what has been typed: the command's own once there is one, else one of all commands."""
    import argparse  # noqa: PLC0415 - as above

    from runctl.cli import parsing  # noqa: PLC0415 - as above

    line = parsing.read(words)
    root = argparse.ArgumentParser(prog="runctl", allow_abbrev=False)
    _add_globals(root)
    commands = root.add_subparsers(dest="command", parser_class=argparse.ArgumentParser)
    for name, (_, summary, _) in COMMANDS.items():
        if line.command != name:
            commands.add_parser(name, help=summary, add_help=False)
    if line.command in COMMANDS:
        command = parsing.parser_for(line.command)
        _add_completers(command)
        commands._name_parser_map[line.command] = command  # noqa: SLF001 - add_parser would configure another one
    else:
        commands.add_parser("help", help="this page, or the command's", add_help=False)
    return root


def _add_globals(parser: argparse.ArgumentParser) -> None:
    for names, value, text in GLOBAL_OPTIONS:
        more: dict[str, Any] = {"metavar": value} if value else {"action": "store_true"}
        if names == ("--color",):
            more["choices"] = ("auto", "always", "never")
        parser.add_argument(*names, help=text, **more)
    parser.add_argument("--version", action="store_true", help="the version")


def _add_completers(parser: argparse.ArgumentParser) -> None:
    """Say which words an argument takes, by its name: run names, settings, error codes; else files."""
    import argparse  # noqa: PLC0415 - as above

    by_name: Mapping[str, Callable[[], Iterable[str]]] = {
        "run": _run_names,
        "runs": _run_names,
        "resume": _run_names,
        "key": _config_keys,
        "code": _codes,
        "target": _targets,
    }
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of its arguments
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - nor a public name for this one
            for sub in action.choices.values():
                _add_completers(sub)
        elif action.dest in by_name:
            action.completer = _Words(by_name[action.dest])  # type: ignore[attr-defined]
        elif action.dest == "value":
            action.completer = _values  # type: ignore[attr-defined]


class _Words:
    """A completer that gives words and hides every failure to find them."""

    def __init__(self, find: Callable[[], Iterable[str]]) -> None:
        self._find = find

    def __call__(self, prefix: str, **_: Any) -> list[str]:
        try:
            return [word for word in self._find() if word.startswith(prefix)]
        except Exception:  # noqa: BLE001 - nothing may be printed into the line somebody is typing
            return []


def _run_names() -> Iterable[str]:
    from runctl.engine.index import Index  # noqa: PLC0415 - only to complete a run
    from runctl.project.places import state_dir  # noqa: PLC0415 - as above

    state = state_dir(os.environ)
    if not state.is_dir():  # opening an index would make it
        return []
    with Index(state) as index:
        return index.names()


def _config_keys() -> Iterable[str]:
    from runctl.project.settings import SETTINGS  # noqa: PLC0415 - only to complete a key

    return SETTINGS


def _codes() -> Iterable[str]:
    from runctl.core.catalogue import CATALOGUE  # noqa: PLC0415 - only to complete a code

    return CATALOGUE


def _targets() -> Iterable[str]:
    from runctl.registry import PROVIDERS  # noqa: PLC0415 - only to complete a target

    return PROVIDERS


def _values(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The values the setting takes that is being set."""
    from runctl.project.settings import SETTINGS  # noqa: PLC0415 - only to complete a value

    setting = SETTINGS.get(str(getattr(parsed_args, "key", "")))
    if setting is None:
        return []
    choices = ("true", "false") if setting.kind == "bool" else setting.choices
    return [choice for choice in choices if choice.startswith(prefix)]
