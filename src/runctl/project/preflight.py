"""What a script will miss on the machine, seen before anything is spent: read from its source, never run. Pure but for reading.

Looked at are the script and the project's own modules that it imports, as far as they can be followed in a fraction of a
second. What cannot be known is not claimed: names that are built at run time, imports inside ``try`` or a function.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from runctl.project.text import shown
from runctl.project.toml_files import load_toml

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from runctl.core.model import ProjectPath
    from runctl.project.dependencies import Dependencies
    from runctl.project.listing import LeftOut

_FILES: Final = 50  # of the project's own modules that are read
_NAMED: Final = 6  # modules in one line
_LARGEST: Final = 1_000_000  # bytes of a source that is read
_LONGEST: Final = 200  # characters of a text that may be a path
_NAME: Final = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
# Modules whose distribution is called otherwise; the first is what one usually asks for.
_CALLED: Final[Mapping[str, tuple[str, ...]]] = {
    "bs4": ("beautifulsoup4",),
    "cv2": (
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    ),
    "dateutil": ("python-dateutil",),
    "dotenv": ("python-dotenv",),
    "git": ("gitpython",),
    "google": ("protobuf", "google-cloud-storage", "google-auth"),
    "hydra": ("hydra-core",),
    "PIL": ("pillow", "pillow-simd"),
    "pkg_resources": ("setuptools",),
    "pl_bolts": ("lightning-bolts",),
    "pytorch_lightning": ("pytorch-lightning",),
    "serial": ("pyserial",),
    "skimage": ("scikit-image",),
    "sklearn": ("scikit-learn",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tf-nightly"),
    "umap": ("umap-learn",),
    "yaml": ("pyyaml",),
}


@dataclass(frozen=True)
class _Import:
    """A module that a file imports when it is run or imported itself."""

    path: str
    line: int
    module: str


@dataclass
class _Source:
    """A file of the project, taken apart."""

    path: str
    imports: list[_Import] = field(default_factory=list)
    texts: list[tuple[int, str]] = field(default_factory=list)
    tree: ast.Module | None = None


def preflight(
    root: Path,
    script: ProjectPath,
    args: Sequence[str],
    *,
    travels: Collection[str],
    left_out: Iterable[LeftOut],
    dependencies: Dependencies,
    installs: bool,
) -> tuple[str, ...]:
    """What to warn of, each with the file and line it comes from.

    Args:
        root: of the project.
        script: in it.
        args: the script's own arguments.
        travels: every path that does.
        left_out: what does not, and by which rule.
        dependencies: what was found of them.
        installs: whether they are installed; else the machine's own Python has to have everything.
    """
    held = {each.path: each for each in left_out}
    folders = _folders(script, dependencies)
    sources = list(_reached(root, str(script), folders))
    packages = _packages(root, dependencies) if installs else set()
    out: list[str] = []
    for source in sources:
        out += _missing_modules(root, source, folders, travels, held)
        out += _left_files(root, source, travels, held)
    if packages is not None:
        out += _missing_packages(root, sources, folders, packages, dependencies, installs=installs)
    if sources and sources[0].tree is not None:
        out += _arguments(sources[0], args)
    return tuple(dict.fromkeys(out))


def _folders(script: ProjectPath, dependencies: Dependencies) -> list[str]:
    """Where the script's Python looks for modules of the project: beside it, then in source folders."""
    more = [] if dependencies.request is None else dependencies.request.get("source_paths") or []
    beside = posixpath.dirname(str(script))
    return list(dict.fromkeys([beside, *(posixpath.normpath(each) for each in more)]))


def _reached(root: Path, script: str, folders: Sequence[str]) -> Iterator[_Source]:
    """The script and the modules of the project that it imports, nearest first."""
    waiting, seen = [script], {script}
    while waiting and len(seen) <= _FILES:
        source = _read(root, waiting.pop(0))
        yield source
        for each in source.imports:
            path = _own(root, each.module, folders)
            if path is not None and path.endswith(".py") and path not in seen:
                seen.add(path)
                waiting.append(path)


def _read(root: Path, path: str) -> _Source:
    found = _Source(path)
    try:
        if (root / path).stat().st_size <= _LARGEST:
            found.tree = ast.parse((root / path).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return found  # whoever runs it will say what is wrong with it
    if found.tree is not None:
        _gather(found, found.tree.body)
        for node in ast.walk(found.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _may_be_path(node.value):
                found.texts.append((node.lineno, node.value))
    return found


def _gather(found: _Source, body: Iterable[ast.stmt]) -> None:
    """The imports that certainly happen: those at the top, and in what is certainly run there."""
    for node in body:
        if isinstance(node, ast.Import):
            found.imports += [_Import(found.path, node.lineno, each.name) for each in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.imports.append(_Import(found.path, node.lineno, node.module))
        elif isinstance(node, ast.With) or (isinstance(node, ast.If) and "__main__" in ast.dump(node.test)):
            _gather(found, node.body)


def _may_be_path(text: str) -> bool:
    plain = 2 < len(text) <= _LONGEST and "\n" not in text and "\0" not in text and "://" not in text
    return plain and ("/" in text or "." in text[1:-1]) and not text.startswith(("/", "~", "-"))


def _own(root: Path, module: str, folders: Iterable[str]) -> str | None:
    """The file or folder of the project that ``module`` is; None for one of somebody else."""
    parts = module.split(".")
    for folder in folders:
        for length in range(len(parts), 0, -1):
            base = posixpath.join(folder, *parts[:length])
            for path in (f"{base}.py", f"{base}/__init__.py"):
                if (root / path).is_file():
                    return path
        if (root / folder / parts[0]).is_dir() and any((root / folder / parts[0]).glob("*.py")):
            return posixpath.join(folder, parts[0])  # a folder of modules without __init__.py
    return None


def _rule(path: str, held: Mapping[str, LeftOut]) -> LeftOut | None:
    """Why a path stays: its own rule, or that of a folder above it."""
    while path:
        if path in held:
            return held[path]
        path = posixpath.dirname(path)
    return None


def _stays(path: str, held: Mapping[str, LeftOut]) -> str:
    left = _rule(path, held)
    return "does not travel" if left is None else f"stays here, by {left.rule} ({left.origin})"


def _missing_modules(
    root: Path, source: _Source, folders: Sequence[str], travels: Collection[str], held: Mapping[str, LeftOut]
) -> Iterator[str]:
    """Modules of the project that are here and will not be there."""
    for each in source.imports:
        path = _own(root, each.module, folders)
        if path is not None and path.endswith(".py") and path not in travels:
            yield f"{shown(each.path)}:{each.line} imports {each.module}, and {shown(path)} {_stays(path, held)}"


def _left_files(
    root: Path, source: _Source, travels: Collection[str], held: Mapping[str, LeftOut]
) -> Iterator[str]:
    """Files the source names that are here and left out."""
    for line, text in sorted(source.texts):
        for folder in dict.fromkeys((posixpath.dirname(source.path), "")):
            path = posixpath.normpath(posixpath.join(folder, text))
            if path.startswith("..") or path in travels or path == ".":
                continue
            if _rule(path, held) is not None and (root / path).exists():
                yield f"{shown(source.path)}:{line} names {shown(text)}, and {shown(path)} {_stays(path, held)}"
                break


def _packages(root: Path, dependencies: Dependencies) -> set[str] | None:
    """Normal names of all that is asked for; None when that cannot be told."""
    request: Mapping[str, Any] | None = dependencies.request
    if request is None:
        return set()
    if request["kind"] == "uv-lock":
        table = load_toml(root, dependencies.files[0])
        return {_normal(str(each.get("name", ""))) for each in table.get("package", [])}
    lines = request.get("requirements")
    if request["kind"] == "requirements":
        lines = [*(lines or ()), *_lines(root, dependencies.files)]
    if lines is None:
        return None
    names = [_NAME.match(str(line)) for line in lines]
    if any(str(line).lstrip().startswith((".", "/", "git+", "http", "-e", "file:")) for line in lines):
        return None  # what those bring is not known here
    return {_normal(found[1]) for found in names if found}


def _lines(root: Path, files: Iterable[str]) -> Iterator[str]:
    for path in files:
        if not path.endswith(".toml"):
            text = (root / path).read_text("utf-8", errors="replace")
            yield from (line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _normal(name: str) -> str:
    """A distribution's name as indexes compare them (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _missing_packages(
    root: Path,
    sources: Iterable[_Source],
    folders: Sequence[str],
    packages: Collection[str],
    dependencies: Dependencies,
    *,
    installs: bool,
) -> Iterator[str]:
    """Modules that nobody is known to bring; each said once, where it is first imported."""
    said: set[str] = set()
    exact, bare = dependencies.kind == "uv-lock", not installs or dependencies.request is None
    first: list[_Import] = []
    for source in sources:
        for each in source.imports:
            top = each.module.partition(".")[0]
            if top in said or top in sys.stdlib_module_names or _own(root, each.module, folders) is not None:
                continue
            said.add(top)
            if {_normal(name) for name in (top, *_CALLED.get(top, ()))} & set(packages):
                continue
            where = f"{shown(each.path)}:{each.line} imports {top}"
            if bare:
                first.append(each)
            elif exact:
                yield f"{where}, which is not in {dependencies.files[0]}"
            else:
                yield f"{where}, which {dependencies.files[0]} does not name: something in it has to bring it"
    if first:
        tops = ", ".join(each.module.partition(".")[0] for each in first[:_NAMED])
        tops += f" and {len(first) - _NAMED} more" * (len(first) > _NAMED)
        where = f"{shown(first[0].path)}:{first[0].line}"
        yield f"{where} imports {tops}, and nothing is installed: the machine's own Python has to have it"


def _arguments(source: _Source, args: Sequence[str]) -> Iterator[str]:
    """Arguments the script requires and was not given, where it reads them by ``argparse`` without sub-commands."""
    assert source.tree is not None
    calls = [
        node
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    names = {node.func.attr for node in calls if isinstance(node.func, ast.Attribute)}
    if (
        not names & {"parse_args", "parse_known_args"}
        or "add_subparsers" in names
        or {"-h", "--help"} & set(args)
    ):
        return
    given = {arg.partition("=")[0] for arg in args}
    positional: list[tuple[int, str]] = []
    for node in calls:
        assert isinstance(node.func, ast.Attribute)
        if node.func.attr != "add_argument" or not node.args:
            continue
        spelled = [
            each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
        ]
        told = {each.arg: each.value for each in node.keywords}
        if not spelled or None in told:
            continue
        if not spelled[0].startswith("-"):
            many = told.get("nargs")
            if many is None or not (isinstance(many, ast.Constant) and many.value in ("?", "*", 0)):
                positional.append((node.lineno, spelled[0]))
            continue
        required = told.get("required")
        if isinstance(required, ast.Constant) and required.value is True and not _given(spelled, given):
            yield f"{shown(source.path)}:{node.lineno} requires {spelled[-1]}, which is not given"
    if positional and not args:
        line, name = positional[0]
        yield f"{shown(source.path)}:{line} requires {name}, and the script is given no argument"


def _given(spelled: Iterable[str], given: Collection[str]) -> bool:
    """Whether an option is there, in any spelling: argparse takes what a long one begins with, and -x5."""
    for name in spelled:
        if name in given:
            return True
        if name.startswith("--") and any(
            len(g) > 2 and g.startswith("--") and name.startswith(g) for g in given
        ):
            return True
        if len(name) == 2 and any(g.startswith(name) and not g.startswith("--") for g in given):
            return True
    return False
