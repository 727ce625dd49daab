"""The site of docs/ builds without a warning, asks no other server for anything, and is searched by what a user sees."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runctl.cli.explain import blanks
from runctl.core.catalogue import CATALOGUE

REPO = Path(__file__).parents[2]


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """``make docs``, but for the generated pages, in a copy of the repository's pages."""
    return subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", "--site-dir", folder / "site"],
        cwd=folder, env={"NO_MKDOCS_2_WARNING": "1", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(REPO / "mkdocs.yml", tmp_path)
    shutil.copytree(REPO / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_it_builds_without_a_warning_and_stands_alone(copy: Path) -> None:
    done = build(copy)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    site = copy / "site"
    pages = {path.relative_to(copy / "docs").with_suffix(".html") for path in (copy / "docs").rglob("*.md")}
    assert all((site / page).is_file() for page in pages)
    assert not list(site.rglob("*.py"))
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"([^\"]+)\"", page.read_text())
        loaded += re.findall(
            r"<link[^>]* rel=\"(?:stylesheet|preload|icon)\"[^>]* href=\"([^\"]+)\"", page.read_text()
        )
        assert not [address for address in loaded if "//" in address], page
    sections = json.loads((site / "search" / "search_index.json").read_text())["docs"]
    text = {
        each["location"]: re.sub(r"<[^>]+>", "", each["text"])
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
        for each in sections
    }
    for code, entry in CATALOGUE.items():
        words = " ".join(blanks(entry.what).split())
        assert words in " ".join(text[f"troubleshooting.html#{code}"].split()), code


@pytest.mark.parametrize(
    ("page", "added", "told"),
    [
        ("concepts.md", "[x](nowhere.md)", "nowhere.md"),
        ("concepts.md", "[x](guides/ssh.md#no-such-heading)", "no-such-heading"),
        ("concepts.md", "[x](#no-such-heading)", "no-such-heading"),
        ("concepts.md", "[x](/concepts.md)", "/concepts.md"),
        ("stray.md", "# A page that nothing leads to", "stray.md"),
    ],
)
def test_what_is_broken_ends_the_build(copy: Path, page: str, added: str, told: str) -> None:
    with (copy / "docs" / page).open("a") as file:
        file.write(f"\n{added}\n")
    done = build(copy)
    assert done.returncode == 1
    assert told in done.stderr
