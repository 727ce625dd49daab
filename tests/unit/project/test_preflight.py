"""What a script will miss on the machine is said beforehand, with the line it comes from, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from runctl.core.model import ProjectPath
from runctl.project.dependencies import find
from runctl.project.files import list_files
from runctl.project.preflight import preflight
from runctl.project.root import Root


def told(
    top: Path, files: dict[str, str], *args: str, script: str = "train.py", installs: bool = True
) -> list[str]:
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)
    listing = list_files(Root(top, "", None), env={"HOME": "/nonexistent"})
    travels = {folder.path + name for folder in listing.folders.values() for name in folder.names}
    place = ProjectPath(script)
    return list(
        preflight(
            top,
            place,
            args,
            travels=travels,
            left_out=(*listing.left_out, *listing.secrets),
            dependencies=find(top, place, travels),
            installs=installs,
        )
    )


def test_a_project_that_is_complete_is_told_nothing(tmp_path: Path) -> None:
    files = {
        "train.py": "import os\nimport yaml, helpers.deep\nfrom PIL import Image\nfrom . import x\n",
        "helpers/__init__.py": "",
        "helpers/deep.py": "import numpy.linalg\n",
        "requirements.txt": "PyYAML==6\npillow  # for images\nNumPy>=2\n",
        "data/x.csv": "1\n",
    }
    assert told(tmp_path, files) == []


def test_packages_that_nobody_asks_for(tmp_path: Path) -> None:
    files = {
        "train.py": "import torch\nimport pandas\nimport pandas.io\nimport helpers\n",
        "helpers.py": "\nimport scipy\n",
        "requirements.txt": "torch\n",
    }
    assert told(tmp_path, files) == [
        "train.py:2 imports pandas, which requirements.txt does not name: something in it has to bring it",
        "helpers.py:2 imports scipy, which requirements.txt does not name: something in it has to bring it",
    ]


def test_a_lock_says_exactly_what_is_there(tmp_path: Path) -> None:
    files = {
        "train.py": "import numpy\nimport pandas\n",
        "pyproject.toml": "[project]\nname = 'p'\nversion = '1'\ndependencies = ['numpy']\n",
        "uv.lock": "version = 1\n[[package]]\nname = 'numpy'\nversion = '2.0'\n",
    }
    assert told(tmp_path, files) == ["train.py:2 imports pandas, which is not in uv.lock"]


def test_without_anything_to_install_the_machines_python_has_to_have_it(tmp_path: Path) -> None:
    files = {"train.py": "import sys\nimport numpy\nimport torch.nn\n"}
    bare = (
        "train.py:2 imports numpy, torch, and nothing is installed: the machine's own Python has to have it"
    )
    assert told(tmp_path, files) == [bare]
    files |= {"requirements.txt": "numpy\ntorch\n"}
    assert told(tmp_path, files) == []
    assert told(tmp_path, files, installs=False) == [bare]


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    import cupy\nexcept ImportError:\n    cupy = None\n",
        "def late():\n    import cupy\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cupy\n",
        "import this is no python\n",
    ],
)
def test_an_import_that_may_never_happen_is_not_claimed(tmp_path: Path, source: str) -> None:
    assert told(tmp_path, {"train.py": source}) == []


def test_modules_and_files_that_stay_here(tmp_path: Path) -> None:
    files = {
        ".gitignore": "data/\nsecret_sauce.py\n",
        "sub/train.py": "import secret_sauce\nrows = open('../data/train.csv')\nother = 'data/train.csv'\nno = 'a/b'\n",
        "sub/secret_sauce.py": "",
        "data/train.csv": "1\n",
    }
    assert told(tmp_path, files, script="sub/train.py") == [
        "sub/train.py:1 imports secret_sauce, and sub/secret_sauce.py stays here, by secret_sauce.py (.gitignore:2)",
        "sub/train.py:2 names ../data/train.csv, and data/train.csv stays here, by data/ (.gitignore:1)",
        "sub/train.py:3 names data/train.csv, and data/train.csv stays here, by data/ (.gitignore:1)",
    ]


PARSER = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--lr", "--learning-rate", type=float, required=True)
parser.add_argument("-e", "--epochs", required=True)
parser.add_argument("--seed", default=0)
parser.add_argument("rest", nargs="*")
args = parser.parse_args()
"""


@pytest.mark.parametrize(
    ("args", "lines"),
    [
        (
            (),
            ["requires --learning-rate, which", "requires --epochs, which", "requires data, and the script"],
        ),
        (("x", "--lr", "1", "-e3"), []),
        (("x", "--learn=1", "--epochs=3"), []),
        (("x", "--lr=1"), ["requires --epochs, which is not given"]),
        (("--help",), []),
    ],
)
def test_arguments_that_are_required(tmp_path: Path, args: tuple[str, ...], lines: list[str]) -> None:
    found = told(tmp_path, {"train.py": PARSER}, *args)
    assert len(found) == len(lines), found
    for line, said in zip(lines, found, strict=True):
        assert line in said
        assert said.startswith("train.py:")


def test_what_the_projects_own_package_is_called_is_no_package(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": "[project]\nname = 'mine'\nversion = '1'\ndependencies = []\n"
        "[build-system]\nrequires = ['hatchling']\nbuild-backend = 'hatchling.build'\n",
        "src/mine/__init__.py": "",
        "src/mine/models.py": "",
        "scripts/train.py": "from mine.models import *\nimport mine\n",
    }
    assert told(tmp_path, files, script="scripts/train.py") == []


def test_it_is_bounded(tmp_path: Path) -> None:
    files = {f"m{n}.py": f"import m{n + 1}\nimport package{n}\n" for n in range(300)}
    (found,) = told(tmp_path, {"train.py": "import m0\n", **files})
    assert "package0, package1, package2, package3, package4, package5 and" in found
    assert int(found.partition(" and ")[2].split()[0]) < 100  # a chain so long is not followed to its end
