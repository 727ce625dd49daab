"""``runctl init``: a short commented ``.runctl.toml``, never over one that is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from runctl.core.catalogue import known
from runctl.project.config_file import PROJECT_FILE
from runctl.project.settings import SETTINGS

if TYPE_CHECKING:
    import argparse

    from runctl.cli.session import Session

# what the file shows; the others are one `runctl config --help` away
_SHOWN = ("target", "deps", "python", "max_hours", "grace_seconds", "include", "exclude", "env", "env_from")
_SECTIONS_SHOWN = ("ui.color", "log.file")


def configure(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments of ``runctl init``."""
    parser.description = (
        "Write a short commented .runctl.toml into the current folder, which becomes the project root."
    )
    parser.add_argument("--force", action="store_true", help="replace the file if it is there")
    parser.add_argument("--print", dest="show", action="store_true", help="print the file and write nothing")


def run(args: argparse.Namespace, session: Session) -> int:
    """Write the file, or print it.

    Raises:
        UsageError: ``config-exists`` without ``--force``; ``config-unwritable``.
    """
    text = template()
    if args.show:
        session.out(text.rstrip("\n"))
        return 0
    path = session.cwd / PROJECT_FILE
    if (path.exists() or path.is_symlink()) and not args.force:
        raise known("config-exists", path=str(path))
    from runctl.project.config_edit import replace_text  # noqa: PLC0415 - only to write

    replace_text(path, text)
    session.mark_config_checked()
    if session.options.json:
        session.out_json({"file": str(path)})
    else:
        session.say(f"wrote {path}\n  see it in force: runctl config show --origin")
    return 0


def template() -> str:
    """The file: every line but ``version`` is a comment, so it changes nothing until somebody edits it."""
    import textwrap  # noqa: PLC0415 - only here

    lines = ["# Settings of runctl for this project; take the # off a line to set it.", "version = 1"]
    section = ""
    for key in (*_SHOWN, *_SECTIONS_SHOWN):
        setting = SETTINGS[key]
        its_section = key.rpartition(".")[0]
        if its_section != section:
            section = its_section
            lines += ["", f"[{section}]"]
        else:
            lines.append("")
        lines += [f"# {line}" for line in textwrap.wrap(setting.doc, 90)]
        lines.append(f"# {setting.example}")
    lines += ["", "# All settings: runctl config --help"]
    return "\n".join(lines) + "\n"
