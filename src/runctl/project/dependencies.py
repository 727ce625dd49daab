"""What a script needs to be installed, found in this order; the first that says something decides.

1. inline script metadata (PEP 723) in the script itself;
2. ``uv.lock`` with its ``pyproject.toml``;
3. ``pyproject.toml`` with a ``[project]`` table (one with only ``[tool.…]`` tables says nothing about dependencies);
4. ``requirements.txt``, with all it includes;
5. nothing; an ``environment.yml`` of conda is seen, and refused where it would be the one that decides.

Of each kind the nearest counts: beside the script, then folder by folder up to the project root. The project itself
and its local packages are never installed: an environment is shared by all runs that need the same packages, while the
code differs from run to run. Their source folders (``src`` where there is one) come to ``PYTHONPATH`` instead.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from runctl.core.catalogue import known
from runctl.project import inline_metadata, requirements_files
from runctl.project.toml_files import load_toml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from runctl.core.model import ProjectPath

_PIN: Final = re.compile(r"^(?:cpython[-@]?|python[-@]?)?(\d+\.\d+)(\.\d+)?$")
_CONDA: Final = ("environment.yml", "environment.yaml")
PASSWORD: Final = re.compile(r"://[^\s/@]+@")
# The parts of pyproject.toml that change what is installed; the rest (linters, metadata) may change freely.
_DECISIVE: Final = ("dependencies", "dynamic", "requires-python", "optional-dependencies")


@dataclass(frozen=True)
class Dependencies:
    """What was found: ``request`` is the EnvRequest of docs/architecture.md, None when nothing is to be installed."""

    kind: str  # script, uv-lock, pyproject, requirements, none
    why: str  # a sentence
    files: tuple[str, ...] = ()  # project paths that decide, the main one first
    python: str | None = None
    request: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    conda: str = ""  # the file that says what is needed, in a way that runctl does not install

    def wanted(self) -> dict[str, Any] | None:
        """The ``request``, for who is going to install it. Raises ``conda-environment``."""
        if self.conda:
            raise known("conda-environment", path=self.conda)
        return self.request


@dataclass
class _Found:
    """A source of dependencies while it is being read."""

    kind: str
    why: str
    files: list[str]
    decisive: list[bytes]  # what the digest is made over
    python: str = ""
    more: dict[str, Any] = field(default_factory=dict)  # further keys of the request
    warnings: list[str] = field(default_factory=list)


def find(
    root: Path,
    script: ProjectPath | None,
    listing_paths: Collection[str] | None,
    *,
    python: str = "",
    installer: str = "auto",
) -> Dependencies:
    """Find what ``script`` needs. Reads only, inside ``root``; safe to repeat.

    Args:
        root: the project root, absolute.
        script: the script in it; None for what lies at the root.
        listing_paths: the project paths that travel to the machine; a deciding file has to be one of them. None where
            nothing travels.
        python: the user's own Python specifier, instead of what the project asks for.
        installer: ``auto``, ``uv`` or ``pip``, handed on to the machine.

    Raises:
        UsageError: ``script-metadata-invalid``, ``pyproject-invalid``, ``requirements-missing``, ``-outside``,
            ``-not-sent`` or ``-invalid``: each names the file, and the line where there is one.
    """
    found = (
        _inline(root, script)
        or _lock(root, script)
        or _pyproject(root, script)
        or _requirements(root, script)
    )
    if found is None:
        conda = next(filter(None, (_nearest(root, script, name) for name in _CONDA)), "")
        if conda:
            return Dependencies("none", f"{conda} is conda's, which runctl does not install", conda=conda)
        why = (
            "no inline metadata, uv.lock, pyproject.toml with a [project] table or requirements.txt was found"
        )
        return Dependencies("none", why)
    for path in found.files:
        if listing_paths is not None and path not in listing_paths:
            raise known("requirements-not-sent", target=path, path=found.files[0])
    specifier = python or ",".join(part for part in (found.python, _pinned(root, script, found)) if part)
    request: dict[str, Any] = {
        "kind": found.kind,
        "files": found.files,
        "blobs": {path: hashlib.sha256((root / path).read_bytes()).hexdigest() for path in found.files},
        "python": specifier or None,
        "digest": _digest(found.kind, found.decisive),
        "installer": installer,
        **found.more,
    }
    return Dependencies(
        found.kind, found.why, tuple(found.files), specifier or None, request, tuple(found.warnings)
    )


# One function for each kind, in the order of the page's head.


def _inline(root: Path, script: ProjectPath | None) -> _Found | None:
    if script is None:
        return None
    source = (root / str(script)).read_bytes().decode("utf-8-sig", errors="surrogateescape")
    if "# /// script" not in source:
        return None
    block = inline_metadata.read(source, script=str(script))
    if block is None:
        return None
    lines = list(block.table.get("dependencies", []))
    found = _Found(
        "script", f"inline metadata on line {block.line} of {script}", [str(script)], [block.text.encode()]
    )
    found.python = block.table.get("requires-python", "")
    has_tool_table = bool(block.table.get("tool", {}).get("uv"))
    found.more = {"requirements": _shareable(lines), "sources": has_tool_table}
    _warn_of_sources(found, has_tool_table=has_tool_table)
    return found


def _lock(root: Path, script: ProjectPath | None) -> _Found | None:
    lock = _nearest(root, script, "uv.lock")
    if lock is None:
        return None
    folder = posixpath.dirname(lock)
    main = posixpath.join(folder, "pyproject.toml")
    if not (root / main).is_file():
        return None
    table = load_toml(root, lock)
    own = _nearest(root, script, "pyproject.toml") or main
    if not own.startswith(folder) or "project" not in load_toml(root, own):
        own = main
    project = load_toml(root, own)
    local = _local_packages(table, folder)
    files = [lock, *dict.fromkeys((main, own))]
    found = _Found(
        "uv-lock",
        f"{lock}, with {own}",
        files,
        [(root / lock).read_bytes(), *(_said(root, f) for f in files[1:])],
    )
    found.python = str(table.get("requires-python", ""))
    missing = [each for each in local.values() if not (root / each).exists() or each.startswith("..")]
    found.warnings += [
        f"{lock} names the local package {each}, which is not in the project" for each in missing
    ]
    sources = [_source_of(root, each) for each in local.values() if each not in missing]
    if "build-system" in project:
        sources.insert(0, _source_of(root, posixpath.dirname(own)))
    found.more = {"project": own, "exclude": sorted(local), "source_paths": list(dict.fromkeys(sources))}
    return found


def _pyproject(root: Path, script: ProjectPath | None) -> _Found | None:
    for main in _upwards(root, script, "pyproject.toml"):
        table = load_toml(root, main)
        project = table.get("project")
        poetry = table.get("tool", {}).get("poetry", {}).get("dependencies") and "build-system" in table
        if not isinstance(project, dict) and not poetry:
            continue
        project = project if isinstance(project, dict) else {}
        if not poetry and "dependencies" not in project and "build-system" not in table:
            continue
        dynamic = bool(poetry and "dependencies" not in project) or "dependencies" in project.get(
            "dynamic", []
        )
        lines = project.get("dependencies", [])
        if not isinstance(lines, list) or not all(isinstance(item, str) for item in lines):
            raise known(
                "pyproject-invalid",
                path=main,
                line=1,
                detail="project.dependencies has to be a list of texts",
            )
        found = _Found("pyproject", f"{main}, its [project] table", [main], [_said(root, main)])
        found.python = str(project.get("requires-python", ""))
        sources = bool(table.get("tool", {}).get("uv", {}).get("sources"))
        found.more = {
            "requirements": None if dynamic else _shareable(lines),
            "sources": sources,
            "source_paths": [_source_of(root, posixpath.dirname(main))] if "build-system" in table else [],
        }
        _warn_of_sources(found, has_tool_table=sources)
        return found
    return None


def _requirements(root: Path, script: ProjectPath | None) -> _Found | None:
    main = _nearest(root, script, "requirements.txt")
    if main is None:
        return None
    walked = requirements_files.walk(root, main)
    extra: list[str] = []
    for folder in walked.folders:
        path = posixpath.join(folder, "pyproject.toml") if folder != "." else "pyproject.toml"
        if (root / path).is_file():
            walked.files.append(path)
            extra += load_toml(root, path).get("project", {}).get("dependencies", [])
        else:
            walked.warnings.append(f"{main} installs the folder {folder}; its own dependencies are not known")
    found = _Found("requirements", main, walked.files, [])
    if len(walked.files) > 1:
        found.why = f"{main}, which includes {', '.join(walked.files[1:])}"
    found.decisive = [
        _said(root, path) if path.endswith(".toml") else (root / path).read_bytes() for path in found.files
    ]
    found.more = {
        "requirements": extra,
        "skip": walked.skip,
        "source_paths": [_source_of(root, each) for each in walked.folders],
    }
    found.warnings = walked.warnings
    return found


# What they share.


def _upwards(root: Path, script: ProjectPath | None, name: str) -> Iterator[str]:
    """Project paths of files called ``name``, from beside the script up to the root."""
    folder = posixpath.dirname(str(script or ""))
    while True:
        path = posixpath.join(folder, name)
        if (root / path).is_file():
            yield path
        if not folder:
            return
        folder = posixpath.dirname(folder)


def _nearest(root: Path, script: ProjectPath | None, name: str) -> str | None:
    return next(_upwards(root, script, name), None)


def _pinned(root: Path, script: ProjectPath | None, found: _Found) -> str:
    """What ``.python-version`` asks for. Its patch number is a preference that another machine need not share."""
    path = _nearest(root, script, ".python-version")
    if path is None:
        return ""
    words = (root / path).read_text("utf-8", errors="replace").split()
    pin = _PIN.match(words[0]) if words else None
    if pin is None:
        found.warnings.append(
            f"{path} names no Python version that can be matched: {' '.join(words)[:40]!r}; not used"
        )
        return ""
    return f"=={pin[1]}.*"


def _source_of(root: Path, folder: str) -> str:
    """Where the modules of a package folder are: ``src`` below it where it has that layout. ``.`` is the root."""
    folder = folder or "."
    source = posixpath.normpath(posixpath.join(folder, "src"))
    return source if (root / source).is_dir() else folder


def _local_packages(lock: Mapping[str, Any], folder: str) -> dict[str, str]:
    """Name → project path of the folders a lock file would install from, the project itself left out."""
    out: dict[str, str] = {}
    for package in lock.get("package", []):
        source = package.get("source", {})
        path = source.get("editable") or source.get("directory") or source.get("virtual")
        if isinstance(path, str) and path != ".":
            out[str(package.get("name"))] = posixpath.normpath(posixpath.join(folder, path))
    return out


def _said(root: Path, path: str) -> bytes:
    """The parts of a pyproject.toml that decide what is installed, in one order."""
    import json  # noqa: PLC0415 - only where there is such a file

    table = load_toml(root, path)
    project = table.get("project", {})
    parts = {
        "project": {key: project.get(key) for key in _DECISIVE},
        "groups": table.get("dependency-groups"),
        "uv": table.get("tool", {}).get("uv"),
        "poetry": table.get("tool", {}).get("poetry", {}).get("dependencies"),
        "build": table.get("build-system") if "dependencies" in project.get("dynamic", []) else None,
    }
    return json.dumps(parts, sort_keys=True, default=str).encode()


def _digest(kind: str, parts: list[bytes]) -> str:
    """SHA-256 over the kind and each deciding text, each preceded by its length so that none can lean on another."""
    total = hashlib.sha256(kind.encode())
    for part in parts:
        total.update(b"\n%d\n" % len(part))
        total.update(part)
    return total.hexdigest()


def _shareable(lines: list[str]) -> list[str] | None:
    """The lines, unless one holds a password: a request is recorded, so those are read from the file on the machine."""
    return None if any(PASSWORD.search(line) for line in lines) else lines


def _warn_of_sources(found: _Found, *, has_tool_table: bool) -> None:
    if has_tool_table:
        found.warnings.append(
            f"{found.files[0]} has [tool.uv] settings; pip, where it has to install, cannot read them"
        )
