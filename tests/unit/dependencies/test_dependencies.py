"""What is found in a project, in which order, and how a mistake in it is named."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from runctl.core.errors import UsageError
from runctl.core.model import ProjectPath
from runctl.project.dependencies import Dependencies, find

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = '# /// script\n# requires-python = ">=3.10"\n# dependencies = ["numpy>=2"]\n# ///\n'
PROJECT = '[project]\nname = "p"\nversion = "0"\nrequires-python = ">=3.9"\ndependencies = ["scipy"]\n'
INSTALLABLE = PROJECT + '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'


def write(root: Path, files: dict[str, str]) -> set[str]:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(text.encode())
    return set(files)


def look(root: Path, files: dict[str, str], script: str = "train.py", **options: Any) -> Dependencies:
    return find(root, ProjectPath(script), write(root, {script: "", **files}), **options)


def refused(root: Path, files: dict[str, str], script: str = "train.py") -> UsageError:
    with pytest.raises(UsageError) as caught:
        look(root, files, script)
    assert "?" not in caught.value.what, caught.value.what
    return caught.value


def test_the_order(tmp_path: Path) -> None:
    files = {
        "train.py": BLOCK,
        "uv.lock": 'version = 1\nrequires-python = ">=3.9"\n',
        "pyproject.toml": PROJECT,
        "requirements.txt": "torch\n",
    }
    kinds = []
    for name in ("train.py", "uv.lock", "pyproject.toml", "requirements.txt"):
        found = look(tmp_path, files)
        kinds.append((found.kind, found.files[0]))
        (tmp_path / name).unlink()
        del files[name]
    assert kinds == [
        ("script", "train.py"),
        ("uv-lock", "uv.lock"),
        ("pyproject", "pyproject.toml"),
        ("requirements", "requirements.txt"),
    ]
    nothing = look(tmp_path, files)
    assert (nothing.kind, nothing.request) == ("none", None)
    assert "requirements.txt" in nothing.why


def test_the_request_has_the_documented_shape(tmp_path: Path) -> None:
    found = look(tmp_path, {"requirements.txt": "torch\n"}, installer="pip")
    request = found.request
    assert request is not None
    assert request["kind"] == "requirements"
    assert request["files"] == ["requirements.txt"]
    assert request["blobs"] == {"requirements.txt": hashlib.sha256(b"torch\n").hexdigest()}
    assert request["python"] is None
    assert len(request["digest"]) == 64
    assert request["installer"] == "pip"


def digest(found: Dependencies) -> str:
    assert found.request is not None
    return str(found.request["digest"])


def test_the_digest_follows_what_decides_and_nothing_else(tmp_path: Path) -> None:
    first = digest(look(tmp_path, {"train.py": BLOCK + "print(1)\n"}))
    assert digest(look(tmp_path, {"train.py": BLOCK + "print(2)\n"})) == first
    assert digest(look(tmp_path, {"train.py": BLOCK.replace("\n", "\r\n")})) == first
    assert digest(look(tmp_path, {"train.py": BLOCK.replace("numpy", "scipy")})) != first
    plain = digest(look(tmp_path, {"pyproject.toml": PROJECT}))
    assert digest(look(tmp_path, {"pyproject.toml": PROJECT + "[tool.ruff]\nline-length = 99\n"})) == plain
    assert digest(look(tmp_path, {"pyproject.toml": PROJECT.replace("scipy", "numpy")})) != plain
    (tmp_path / "pyproject.toml").unlink()
    one = digest(look(tmp_path, {"requirements.txt": "-r a.txt\n", "a.txt": "x\n"}))
    assert digest(look(tmp_path, {"requirements.txt": "-r a.txt\n", "a.txt": "y\n"})) != one


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        (BLOCK + "\n" + BLOCK, 6, "second block"),
        ("import os\n# /// script\n# dependencies = []\nprint()\n", 2, "never ends"),
        ('# /// script\n# dependencies = [\n#   "a"\n# x = 3\n# ///\n', 4, ""),
        ("# /// script\n# dependencies = 3\n# ///\n", 1, "list of texts"),
        ("# /// script\n# requires-python = 3\n# ///\n", 1, "requires-python"),
    ],
)
def test_a_broken_block_names_its_line(tmp_path: Path, source: str, line: int, says: str) -> None:
    error = refused(tmp_path, {"train.py": source})
    assert error.code == "script-metadata-invalid"
    assert error.what.startswith(f"train.py:{line}:"), error.what
    assert says in error.why


@pytest.mark.parametrize(
    "source",
    [
        "",
        "# /// pyproject\n# [project]\n# ///\n",
        "text = '# /// script'\n",
        "#/// script\n# dependencies = []\n# ///\n",
    ],
)
def test_what_is_no_script_block_is_passed_over(tmp_path: Path, source: str) -> None:
    assert look(tmp_path, {"train.py": source}).kind == "none"


def test_an_empty_block_counts_and_a_block_after_a_shebang_too(tmp_path: Path) -> None:
    found = look(tmp_path, {"train.py": "#!/usr/bin/env python\n# /// script\n# dependencies = []\n# ///\n"})
    assert (found.kind, found.why) == ("script", "inline metadata on line 2 of train.py")


def test_a_pyproject_with_tools_only_is_no_source(tmp_path: Path) -> None:
    assert look(tmp_path, {"pyproject.toml": "[tool.ruff]\nline-length = 100\n"}).kind == "none"
    files = {"pyproject.toml": "[tool.ruff]\n", "requirements.txt": "torch\n"}
    assert look(tmp_path, files).kind == "requirements"
    files["pyproject.toml"] = '[project]\nname = "p"\nversion = "0"\n'
    assert look(tmp_path, files).kind == "requirements"
    assert look(tmp_path, {"pyproject.toml": INSTALLABLE}).kind == "pyproject"


def test_the_nearest_counts_up_to_the_root(tmp_path: Path) -> None:
    root = tmp_path / "project"
    write(tmp_path, {"requirements.txt": "never\n"})
    assert look(root, {"training/train.py": ""}, "training/train.py").kind == "none"
    files = {"requirements.txt": "a\n", "training/requirements.txt": "b\n"}
    assert look(root, files, "training/train.py").files == ("training/requirements.txt",)
    assert look(root, files, "train.py").files == ("requirements.txt",)


def test_the_projects_own_code_comes_to_the_path_and_is_not_installed(tmp_path: Path) -> None:
    found = look(tmp_path, {"pyproject.toml": INSTALLABLE, "src/p/__init__.py": ""})
    assert found.request is not None
    assert found.request["source_paths"] == ["src"]
    assert found.request["requirements"] == ["scipy"]
    (tmp_path / "pyproject.toml").unlink()
    files = {
        "requirements.txt": "torch\n-e .\n./libs/other\nvendor/x-1.0-py3-none-any.whl\n",
        "libs/other/pyproject.toml": PROJECT,
        "vendor/x-1.0-py3-none-any.whl": "",
        "setup.py": "",
    }
    found = look(tmp_path, files)
    assert found.request is not None
    assert found.request["skip"] == {"requirements.txt": [2, 3]}
    assert found.request["source_paths"] == ["src", "libs/other"]
    assert found.request["requirements"] == ["scipy"]
    assert "vendor/x-1.0-py3-none-any.whl" in found.files
    assert any("its own dependencies are not known" in text for text in found.warnings)


def test_a_lock_names_local_packages_and_the_member_it_is_for(tmp_path: Path) -> None:
    lock = (
        'version = 1\nrequires-python = ">=3.11"\n'
        '[[package]]\nname = "p"\nversion = "0"\nsource = { editable = "." }\n'
        '[[package]]\nname = "lib"\nversion = "0"\nsource = { editable = "packages/lib" }\n'
        '[[package]]\nname = "far"\nversion = "0"\nsource = { directory = "../far" }\n'
        '[[package]]\nname = "numpy"\nversion = "2"\nsource = { registry = "https://example.org/simple" }\n'
    )
    files = {
        "uv.lock": lock,
        "pyproject.toml": PROJECT + '[tool.uv.workspace]\nmembers = ["packages/*"]\n',
        "packages/lib/pyproject.toml": INSTALLABLE,
        "packages/lib/src/lib/__init__.py": "",
        "packages/lib/train.py": "",
    }
    found = look(tmp_path, files, "packages/lib/train.py")
    assert found.request is not None
    assert found.files == ("uv.lock", "pyproject.toml", "packages/lib/pyproject.toml")
    assert found.python == ">=3.11"
    assert found.request["project"] == "packages/lib/pyproject.toml"
    assert found.request["exclude"] == ["far", "lib"]
    assert found.request["source_paths"] == ["packages/lib/src"]
    assert any("../far" in text for text in found.warnings)
    assert look(tmp_path, files).request["project"] == "pyproject.toml"  # type: ignore[index]


def test_includes_and_constraints_travel_too(tmp_path: Path) -> None:
    files = {
        "requirements.txt": "# all of it\n-r deps/base.txt  # the base\n--constraint=pins.txt\ntorch[extra]>=2 ; python_version > '3'\n",
        "deps/base.txt": "\ufeff-rmore.txt\n-r ../requirements.txt\nnumpy==2.0 \\\n    --hash=sha256:abc\n",
        "deps/more.txt": "--index-url https://example.org/simple\npkg @ https://example.org/pkg-1.whl\ngit+https://example.org/x\n",
        "pins.txt": "scipy<2\r\n",
    }
    found = look(tmp_path, files)
    assert found.files == ("requirements.txt", "deps/base.txt", "deps/more.txt", "pins.txt")
    assert found.request is not None
    assert set(found.request["blobs"]) == set(found.files)
    assert "deps/base.txt" in found.why


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("a\n\n-r gone.txt\n", "requirements-missing", "requirements.txt:3: gone.txt"),
        ("-c ../outside.txt\n", "requirements-outside", "requirements.txt:1: ../outside.txt"),
        ("-r /etc/hosts\n", "requirements-outside", "/etc/hosts"),
        ("-e ../elsewhere\n", "requirements-outside", "../elsewhere"),
        ("./wheels/gone.whl\n", "requirements-missing", "./wheels/gone.whl"),
        ("numpy\nthis is not one\n", "requirements-invalid", "requirements.txt"),
        ("=2.0\n", "requirements-invalid", "requirements.txt"),
    ],
)
def test_a_bad_requirements_file_is_refused_before_anything_starts(
    tmp_path: Path, text: str, code: str, says: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    error = refused(tmp_path / "project", {"requirements.txt": text})
    assert error.code == code
    assert says in error.what
    if code == "requirements-invalid":
        assert "line" in error.why


def test_what_only_the_machine_can_read_is_left_to_it(tmp_path: Path) -> None:
    found = look(tmp_path, {"requirements.txt": "-r https://user:pw@example.org/r.txt\n${EXTRA}\n"})
    assert found.files == ("requirements.txt",)
    assert found.warnings == (
        "requirements.txt:1 includes https://***@example.org/r.txt, which only the machine can read",
    )


def test_a_deciding_file_that_does_not_travel_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"train.py": "", "requirements.txt": "-r more.txt\n", "more.txt": "a\n"})
    with pytest.raises(UsageError) as caught:
        find(tmp_path, ProjectPath("train.py"), {"train.py", "requirements.txt"})
    assert caught.value.code == "requirements-not-sent"
    assert caught.value.fix == ("  runctl project --why more.txt",)


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"pyproject.toml": "[project]\nname = \n"}, "pyproject.toml:2:"),
        ({"pyproject.toml": '[project]\nname = "p"\ndependencies = "numpy"\n'}, "pyproject.toml:"),
        ({"pyproject.toml": PROJECT, "uv.lock": "version = 1\n<<<<<<< HEAD\n"}, "uv.lock:2:"),
    ],
)
def test_a_broken_toml_file_names_its_line(tmp_path: Path, files: dict[str, str], what: str) -> None:
    error = refused(tmp_path, files)
    assert error.code == "pyproject-invalid"
    assert error.what.startswith(what), error.what


@pytest.mark.parametrize(
    ("pin", "wanted", "warned"),
    [
        ("3.12\n", ">=3.9,==3.12.*", False),
        ("3.12.4\n", ">=3.9,==3.12.*", False),
        ("cpython-3.11\n", ">=3.9,==3.11.*", False),
        ("pypy3.10\n", ">=3.9", True),
        ("", ">=3.9", True),
    ],
)
def test_the_python_that_is_asked_for(tmp_path: Path, pin: str, wanted: str, warned: bool) -> None:
    found = look(tmp_path, {"pyproject.toml": PROJECT, ".python-version": pin})
    assert found.python == wanted
    assert bool(found.warnings) is warned
    assert (
        look(tmp_path, {"pyproject.toml": PROJECT, ".python-version": pin}, python=">=3.13").python
        == ">=3.13"
    )


def test_a_password_never_enters_the_request(tmp_path: Path) -> None:
    text = PROJECT.replace('"scipy"', '"scipy", "mine @ https://user:s3cret@example.org/mine.whl"')
    found = look(tmp_path, {"pyproject.toml": text})
    assert found.request is not None
    assert found.request["requirements"] is None
    assert "s3cret" not in str(found)


def test_dynamic_dependencies_are_left_to_the_build_backend(tmp_path: Path) -> None:
    text = INSTALLABLE.replace('dependencies = ["scipy"]', 'dynamic = ["dependencies"]')
    found = look(tmp_path, {"pyproject.toml": text})
    assert found.request is not None
    assert found.request["requirements"] is None
    poetry = '[tool.poetry]\nname = "p"\n[tool.poetry.dependencies]\nnumpy = "*"\n[build-system]\nrequires = ["poetry-core"]\n'
    assert look(tmp_path, {"pyproject.toml": poetry}).kind == "pyproject"


def test_an_environment_of_conda_is_refused_unless_something_else_decides(tmp_path: Path) -> None:
    conda = "name: lab\ndependencies: [python=3.11, pytorch]\n"
    found = look(tmp_path, {"environment.yml": conda}, "sub/train.py")
    assert (found.kind, found.conda, found.request) == ("none", "environment.yml", None)
    with pytest.raises(UsageError) as caught:
        found.wanted()
    assert caught.value.code == "conda-environment"
    assert "environment.yml" in caught.value.what
    beside = look(tmp_path, {"environment.yml": conda, "requirements.txt": "torch\n"})
    assert (beside.kind, beside.conda) == ("requirements", "")
    assert beside.wanted() is not None
