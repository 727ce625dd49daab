"""What was probably meant: from a wrong command line to the error that prints the right one. Pure."""

from __future__ import annotations

import difflib
import shlex
from typing import TYPE_CHECKING, Any

from runctl.cli.commands import COMMANDS, GLOBAL_OPTIONS, TAKES_SCRIPT_ARGS
from runctl.core.catalogue import known

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from runctl.cli.parsing import CommandLine
    from runctl.core.errors import RunctlError


def usage(why: str, *, fix: Iterable[str] = (), **facts: Any) -> RunctlError:
    """The error ``usage``: a command line that cannot be understood. ``why`` says what is wrong with it."""
    return known("usage", why=why, fix=fix, **facts)


_MUCH = 0.12  # of likeness, from 0 to 1


def nearest(word: str, choices: Iterable[str], *, cutoff: float = 0.6) -> list[str]:
    """The choices most like ``word``, best first, at most three; ``cutoff`` from 0 (anything) to 1 (the word itself).

    What is much less like it than the best one is left out: a slip of `explain` is not meant as `plan`.
    """
    found = difflib.get_close_matches(word, list(choices), n=3, cutoff=cutoff)
    likeness = {each: difflib.SequenceMatcher(None, each, word).ratio() for each in found}
    return [each for each in found if likeness[each] > likeness[found[0]] - _MUCH]


def nearest_option(word: str, options: Iterable[str]) -> list[str]:
    """The options that ``word`` may be a slip of; stricter than for other words, an option may be the script's."""
    return nearest(word, options, cutoff=0.8)


def quoted(words: Iterable[str]) -> str:
    """The words as one line that a POSIX shell reads back as the same words."""
    return shlex.join(words)


def unknown_command(line: CommandLine) -> RunctlError:
    """The error for a first word that is no command, with the whole line corrected where one is near."""
    word = line.command or ""
    tail = line.words + line.global_words + ([] if line.script_args is None else ["--", *line.script_args])
    if word.startswith("-"):
        options = [name for names, _, _ in GLOBAL_OPTIONS for name in names] + ["--help", "--version"]
        near = nearest_option(word.partition("=")[0], options)
        return known("unknown-option", option=word, fix=[*_meant(near), "  runctl --help"])
    if word.endswith(".py"):
        from runctl.cli.parsing import parser_for  # noqa: PLC0415 - which imports this module when it needs it

        meant = line._replace(command="train", words=[word, *line.words])
        return known(
            "unknown-command", command=word, fix=["  " + _apart(meant, parser_for("train").options())]
        )
    near = nearest(word, COMMANDS)
    fix = ["  " + quoted(["runctl", name, *tail]) for name in near]
    return known("unknown-command", command=word, fix=[*fix, "  runctl --help"])


def _meant(near: Sequence[str]) -> list[str]:
    return [f"did you mean {' or '.join(near)}?"] if near else []


def unknown_option(
    line: CommandLine, word: str, options: Mapping[str, argparse.Action], *, prog: str
) -> RunctlError:
    """The error for a ``word`` the command does not take: an option, or an argument too many."""
    takes_args = line.command in TAKES_SCRIPT_ARGS
    fix = ["  " + _apart(line, options)] if takes_args else [f"  {prog} --help"]
    if not word.startswith("-"):
        why = f"unexpected argument {word!r}" + (
            "; arguments of the script follow `--`" if takes_args else ""
        )
        return usage(why, fix=fix)
    option = word.partition("=")[0]
    near = nearest_option(option, options)
    if near:
        right = [near[0] + w[len(option) :] if w.partition("=")[0] == option else w for w in line.words]
        tail = [] if line.script_args is None else ["--", *line.script_args]
        fix.insert(0, "  " + quoted(["runctl", line.command or "", *right, *line.global_words, *tail]))
    why = "options of the script follow `--`" if takes_args else ""
    return known("unknown-option", why=why, fix=fix, option=option)


def unknown_subcommand(word: str, rest: Sequence[str], choices: Iterable[str], *, prog: str) -> RunctlError:
    """The error for a second word that ``prog`` does not know."""
    fix = ["  " + quoted([*prog.split(), name, *rest]) for name in nearest(word, choices)]
    name = f"{prog.removeprefix('runctl ')} {word}"
    return known("unknown-command", command=name, fix=[*fix, f"  {prog} --help"])


def wrong_choice(action: argparse.Action, value: Any, *, prog: str) -> RunctlError:
    """The error for a value that is none of the choices, with the nearest one."""
    choices = [str(choice) for choice in action.choices or ()]
    name = "/".join(action.option_strings) or action.metavar or action.dest
    near = nearest(str(value), choices)
    hint = f"; did you mean {near[0]}?" if near else ""
    return usage(f"{name} takes {', '.join(choices)}, not {value!r}{hint}", fix=[f"  {prog} --help"])


def _apart(line: CommandLine, options: Mapping[str, argparse.Action]) -> str:
    """The line with the script's words behind ``--``."""
    own, theirs = split_script_args(line.words, options)
    theirs += line.script_args or []
    tail = ["--", *theirs] if theirs else []
    return quoted(["runctl", line.command or "", *own, *line.global_words, *tail])


def split_script_args(
    words: Sequence[str], options: Mapping[str, argparse.Action]
) -> tuple[list[str], list[str]]:
    """Tell runctl's own words from those that were meant for the script. Pure.

    Own are the known options with their values and the script: the first plain word that ends in ``.py``, else the
    first plain word that is not the value of an unknown option.
    """
    own: list[str] = []
    theirs: list[str] = []
    script = next((w for w in words if w.endswith(".py") and not w.startswith("-")), None)
    have_script = False
    in_unknown = False
    rest = list(words)
    while rest:
        word = rest.pop(0)
        action = options.get(word.partition("=")[0]) if word.startswith("-") else None
        if action is not None:
            own.append(word)
            in_unknown = False
            if action.nargs != 0 and "=" not in word and rest and not rest[0].startswith("-"):
                own.append(rest.pop(0))
        elif word.startswith("-") and len(word) > 1:
            theirs.append(word)
            in_unknown = True
        elif not have_script and (word == script or (script is None and not in_unknown)):
            own.append(word)
            have_script = True
        else:
            theirs.append(word)
            in_unknown = False  # an option has one value, or it could be anything
    return own, theirs
