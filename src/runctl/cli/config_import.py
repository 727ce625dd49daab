"""``runctl config import``: the configuration of the Rust tool of the same name, in its place as one of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runctl.core.catalogue import known
from runctl.project import config_file, rust_config
from runctl.project.config_edit import replace_text
from runctl.project.config_file import PROJECT_FILE
from runctl.project.places import user_config
from runctl.project.settings import SETTINGS, WrongValueError, as_toml, check

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from runctl.cli.session import Session
    from runctl.project.rust_config import Translated

_KEPT = ".rust~"  # such names do not travel with the project: the old file may hold a key


def bring_over(args: argparse.Namespace, session: Session) -> int:
    """Write the new file in the place of the old one, which is kept beside it; 0.

    Raises:
        UsageError: ``config-not-rust``; ``config-value-wrong``; ``config-exists`` where an old one is kept already;
            ``config-unwritable``. The file is then as it was.
    """
    path = _file(args, session)
    found = _translated(path)
    text = _as_file(found.settings)
    kept = path.with_name(path.name + _KEPT)
    if not args.dry_run:
        _replace(path, kept, text)
        session.mark_config_checked()
    if session.options.json:
        session.out_json(
            {
                "file": str(path),
                "kept": str(kept),
                "settings": found.settings,
                "left": [list(each) for each in found.left],
                "notes": [list(each) for each in found.notes],
                "dry_run": args.dry_run,
            }
        )
        return 0
    if args.dry_run:
        session.out(text.rstrip("\n"))
    for mark, pairs in (("!", found.notes), ("-", found.left)):
        for key, why in pairs:
            session.say(f"{mark} {key}: {why}")
    if not args.dry_run:
        session.say(f"wrote {path}; the old file is {kept}")
    return 0


def _file(args: argparse.Namespace, session: Session) -> Path:
    if args.file:
        named: Path = session.cwd / args.file
        return named
    for path in (session.cwd / PROJECT_FILE, user_config(session.env)):
        if path.is_file():
            return path
    raise known(
        "config-not-rust", path=PROJECT_FILE, detail="there is no such file here, and none of the user"
    )


def _translated(path: Path) -> Translated:
    opened = config_file.open_file(path, str(path))
    if isinstance(opened, config_file.Problem):
        raise known("config-not-rust", path=str(path), detail=str(opened))
    if not rust_config.is_one(opened.table):
        raise known("config-not-rust", path=str(path), detail="it has none of that tool's sections and keys")
    found = rust_config.translate(opened.table)
    for key, value in found.settings.items():
        try:
            check(SETTINGS[key], value)
        except WrongValueError as error:
            raise known("config-value-wrong", key=key, problem=str(error)) from error
    return found


def _as_file(settings: dict[str, Any]) -> str:
    """Settings as a file: those without a section first."""
    lines, section = ["# Brought over from the Rust runctl.", "version = 1"], ""
    for key, value in sorted(settings.items(), key=lambda each: (each[0].rpartition(".")[0], each[0])):
        its_section, _, name = key.rpartition(".")
        if its_section != section:
            section = its_section
            lines += ["", f"[{section}]"]
        lines.append(f"{name} = {as_toml(value)}")
    return "\n".join(lines) + "\n"


def _replace(path: Path, kept: Path, text: str) -> None:
    if kept.exists():
        raise known("config-exists", path=str(kept))
    path.rename(kept)  # the very file, with its mode
    try:
        replace_text(path, text)
    except BaseException:
        kept.rename(path)
        raise
