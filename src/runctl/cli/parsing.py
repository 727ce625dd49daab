"""From words to a command: global options wherever they stand, script arguments after ``--``, argparse for the rest.

Every mistake becomes a ``UsageError`` in runctl's own shape, with the line that was probably meant.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from runctl.cli.commands import COMMANDS, GLOBAL_OPTIONS, TAKES_SCRIPT_ARGS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from runctl.core.errors import RunctlError

COLORS = ("auto", "always", "never")
_FLAGS = {name: names[-1][2:] for names, value, _ in GLOBAL_OPTIONS if not value for name in names}
_VALUED = {name: names[-1][2:] for names, value, _ in GLOBAL_OPTIONS if value for name in names}
_ALONE = {
    "--cache-volume": "auto"
}  # options whose value follows an equals sign or is left out: never the next word
_SHORT = {name[1] for name in _FLAGS if len(name) == 2}


class CommandLine(NamedTuple):
    """The words, sorted. ``problem`` is the first mistake found among the global options, raised once there is a view."""

    globals: dict[str, Any]
    global_words: list[str]
    command: str | None
    words: list[str]
    script_args: list[str] | None
    problem: RunctlError | None


def read(argv: Sequence[str]) -> CommandLine:
    """Sort ``argv``: what follows the first ``--`` is the script's; global options are taken out of the rest.

    Pure. Global options may stand before or after the command; the first word left is the command.
    """
    words, script_args = list(argv), None
    if "--" in words:
        at = words.index("--")
        words, script_args = words[:at], words[at + 1 :]
    found: dict[str, Any] = {}
    taken: list[str] = []
    rest: list[str] = []
    problem: RunctlError | None = None
    while words:
        word = words.pop(0)
        name, has_value, value = word.partition("=")
        if word in _FLAGS:
            found[_FLAGS[word]] = True
            taken.append(word)
        elif name in _VALUED:
            given = [word]
            if not has_value:
                if not words or words[0].startswith("-"):
                    problem = problem or _wrong_value(name, None)
                    continue
                value = words.pop(0)
                given.append(value)
            if name == "--color" and value not in COLORS:
                problem = problem or _wrong_value(name, value)
                continue
            found[_VALUED[name].replace("-", "_")] = value
            taken += given
        elif len(word) > 2 and word[0] == "-" and set(word[1:]) <= _SHORT:  # -qv: several in one
            found |= {_FLAGS[f"-{letter}"]: True for letter in word[1:]}
            taken.append(word)
        else:
            rest.append(f"{word}={_ALONE[word]}" if word in _ALONE else word)
    command = rest.pop(0) if rest else None
    return CommandLine(found, taken, command, rest, script_args, problem)


def _wrong_value(option: str, value: str | None) -> RunctlError:
    wants = f"one of {', '.join(COLORS)}" if option == "--color" else "a path"
    why = f"{option} needs {wants}" + ("" if value is None else f", not {value!r}")
    error: RunctlError = _corrections().usage(why, fix=["  runctl --help"])
    return error


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Knows its width: argparse makes a formatter for every option it is told of, and would load shutil to ask."""

    def __init__(self, prog: str, **settings: Any) -> None:
        settings.setdefault("width", _columns() - 2)
        super().__init__(prog, **settings)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Paragraphs in lines of ``width``. Lines that begin with spaces, or follow a heading, stay as they are."""
        from runctl.views.text import wrap  # noqa: PLC0415 - only for a help page

        lines: list[str] = []
        for paragraph in text.strip("\n").split("\n\n"):
            own = paragraph.split("\n")
            prose = not any(line.startswith(" ") or line.endswith(":") for line in own)
            lines += [*(wrap(paragraph, width) if prose else own), ""]
        return "\n".join(indent + line if line else "" for line in lines[:-1])


def _columns() -> int:
    """The width of the terminal, as ``shutil.get_terminal_size`` finds it."""
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


class Parser(argparse.ArgumentParser):
    """argparse with runctl's manners: no abbreviations, no exit, no stderr; mistakes are raised.

    The global options are listed in the help of every command; their values are taken before argparse runs.
    """

    def __init__(self, **settings: Any) -> None:
        settings.setdefault("allow_abbrev", False)
        settings.setdefault("formatter_class", _Formatter)
        super().__init__(**settings)
        self.color = False  # 3.14 would colour the help of its own accord
        self._positionals.title = "arguments"
        self._global = argparse._ArgumentGroup(self, "global options")  # noqa: SLF001 - listed last, see format_help
        for names, value, text in GLOBAL_OPTIONS:
            more: dict[str, Any] = {"metavar": value} if value else {"action": "store_true"}
            self._global.add_argument(
                *names, dest=argparse.SUPPRESS, default=argparse.SUPPRESS, help=text, **more
            )

    def format_usage(self) -> str:
        """The usage line, without the global options."""
        formatter = self._get_formatter()
        self._add_usage(formatter)
        return formatter.format_help()

    def own_actions(self) -> list[argparse.Action]:
        """The arguments of the command itself: neither the global options nor ``--help``."""
        common = set(self._global._group_actions)  # noqa: SLF001 - the class's own group
        return [a for a in self._actions if a not in common and "--help" not in a.option_strings]

    def _add_usage(self, formatter: argparse.HelpFormatter) -> None:
        common = set(self._global._group_actions)  # noqa: SLF001 - the class's own group
        own = [action for action in self._actions if action not in common]
        formatter.add_usage(self.usage, own, self._mutually_exclusive_groups)

    def format_help(self) -> str:
        """The help page: usage, description, the command's own options, then the global ones."""
        formatter = self._get_formatter()
        self._add_usage(formatter)
        formatter.add_text(self.description)
        for group in [*self._action_groups, self._global]:
            formatter.start_section(group.title)
            formatter.add_text(group.description)
            formatter.add_arguments(group._group_actions)  # noqa: SLF001 - what argparse itself does here
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def options(self) -> dict[str, argparse.Action]:
        """Every spelling this parser takes, global ones included."""
        return self._option_string_actions

    def subcommands(self) -> dict[str, argparse.ArgumentParser]:
        """The parsers of the words that may follow, empty for a command without any."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no public name for it
                return dict(action.choices)
        return {}

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """As argparse, but an unknown option is reported before what may merely be missing because of it."""
        words = list(args or ())
        subcommands = self.subcommands()
        if subcommands:
            if words and words[0] not in (*subcommands, "-h", "--help"):
                raise _corrections().unknown_subcommand(words[0], words[1:], subcommands, prog=self.prog)
        else:
            for word in words:
                if self._is_unknown(word):
                    raise _Unknown(self, word)
        space, extra = super().parse_known_args(words, namespace)
        if extra and not subcommands:
            raise _Unknown(self, extra[0])
        return space, extra

    def _is_unknown(self, word: str) -> bool:
        if len(word) < 2 or word[0] != "-" or " " in word or self._negative_number_matcher.match(word):
            return False
        if word.startswith("--"):
            return word.partition("=")[0] not in self._option_string_actions
        return word[:2] not in self._option_string_actions

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse, but the error lists the choices as a person does and names the nearest."""
        if action.choices is not None and value not in action.choices:
            raise _corrections().wrong_choice(action, value, prog=self.prog)

    def error(self, message: str) -> NoReturn:
        """Raise ``usage`` with argparse's own reason, shortened."""
        why = message.replace("the following arguments are required:", "missing:").removeprefix("argument ")
        raise _corrections().usage(why, fix=[f"  {self.prog} --help"])


def _corrections() -> ModuleType:
    """``cli.corrections``, loaded when something is wrong (difflib alone costs 18 ms)."""
    from runctl.cli import corrections  # noqa: PLC0415 - see above

    return corrections


class _Unknown(Exception):  # never leaves this module
    """A word that ``parser`` does not know; ``parse`` turns it into the right error."""

    def __init__(self, parser: Parser, word: str) -> None:
        super().__init__(word)
        self.parser = parser
        self.word = word


def parser_for(command: str) -> Parser:
    """The parser of ``command``, configured by its module."""
    import importlib  # noqa: PLC0415 - one command is loaded, the one that was asked for

    module_name, summary, _ = COMMANDS[command]
    parser = Parser(prog=f"runctl {command}", description=summary[0].upper() + summary[1:] + ".")
    importlib.import_module(module_name).configure(parser)
    if command in TAKES_SCRIPT_ARGS:
        parser.usage = parser.format_usage().removeprefix("usage: ").strip() + " [-- ARGS...]"
    return parser


def parse(line: CommandLine) -> argparse.Namespace:
    """The arguments of a known command.

    Raises:
        UsageError: ``usage``, ``unknown-option`` or ``unknown-command``; with ``unknown-option`` for a command that
            takes script arguments, the fix is the corrected line.
        SystemExit: 0, after ``--help`` was printed.
    """
    command = line.command or ""
    if line.script_args is not None and command not in TAKES_SCRIPT_ARGS:
        from runctl.cli import corrections  # noqa: PLC0415 - only for an error

        words = ["runctl", command, *line.words, *line.global_words]
        raise corrections.usage(
            f"`runctl {command}` takes no arguments after --", fix=["  " + corrections.quoted(words)]
        )
    parser = parser_for(command)
    try:
        args, _ = parser.parse_known_args(line.words)
    except _Unknown as unknown:
        raise _corrections().unknown_option(
            line, unknown.word, unknown.parser.options(), prog=unknown.parser.prog
        ) from None
    if command in TAKES_SCRIPT_ARGS:
        args.script_args = line.script_args or []
    return args
