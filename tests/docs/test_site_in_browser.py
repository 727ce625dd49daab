"""The site as a browser shows it: nothing is wider than a telephone, and the search finds the section of an error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests import browser
from tests.browser import Tab

REPO = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(not browser.PROGRAM, reason="no Chromium here: sh tests/packages.sh"),
    pytest.mark.xdist_group("browser"),
]

# What lies outside of the window and of everything that scrolls or cuts; and names in tables that were broken in two.
WRONG = """
(() => {
  const width = document.documentElement.clientWidth, found = []
  if (document.documentElement.scrollWidth > width) found.push("the page scrolls sideways")
  for (const each of document.querySelectorAll(".md-content *")) {
    const box = each.getBoundingClientRect()
    if (!box.width || box.right <= width + 1) continue
    let above = each
    while (above && getComputedStyle(above).overflowX === "visible") above = above.parentElement
    if (!above || above === document.body || above === document.documentElement)
      found.push("outside: " + each.tagName + " " + each.textContent.slice(0, 60))
  }
  for (const each of document.querySelectorAll(".md-content .whole"))
    if (each.getClientRects().length > 1) found.push("broken: " + each.textContent)
  for (const each of document.querySelectorAll(".md-content td code"))
    if (each.textContent.includes("\\\\|")) found.push("backslash: " + each.textContent)
  return found
})()
"""
TYPED = """
(() => {
  const field = document.querySelector(".md-search__input")
  document.querySelector("#__search").checked = true
  field.focus()
  field.value = %s
  field.dispatchEvent(new KeyboardEvent("keyup"))
})()
"""
FIRST = "document.querySelector('.md-search-result__item')?.textContent"
SECTIONS = """
[...(document.querySelector(".md-search-result__item")?.querySelectorAll("a") ?? [])].map(each => new URL(each.href).hash.slice(1))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "built"
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=REPO,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    folder = tmp_path_factory.mktemp("browser")
    with browser.tab(folder) as found:
        yield found
    shutil.rmtree(folder, ignore_errors=True)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_window(site: Path, address: str, tab: Tab, width: int) -> None:
    tab.resize(width)
    pages = sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if path.name != "404.html")
    assert len(pages) > 20
    wrong = {}
    for page in pages:
        tab.open(f"{address}/{page}")
        wrong[page] = tab.ask(WRONG)
    assert {page: found for page, found in wrong.items() if found} == {}


@pytest.mark.parametrize(
    ("typed", "section"),
    [
        ("error[aws-denied]: ada may not do ec2:RunInstances", "aws-denied"),
        ("error[ssm-not-registered]: cannot reach i-0abc through SSM", "ssm-not-registered"),
        ("cannot reach i-0abc through SSM", "ssm-not-registered"),
        ("the AWS credentials have expired", "aws-credentials-expired"),
        ("disk-full", "disk-full"),
        ("--cache-volume", "cache-volume-busy"),
    ],
)
def test_what_a_terminal_shows_is_found(address: str, tab: Tab, typed: str, section: str) -> None:
    tab.resize(1280)
    tab.open(f"{address}/index.html")
    tab.until("document.querySelector('.md-search__input') !== null")
    tab.ask(TYPED % json.dumps(typed))
    tab.until(FIRST)
    assert section in tab.ask(SECTIONS)


def test_the_checks_notice(site: Path, address: str, tab: Tab) -> None:
    text = (site / "index.html").read_text()
    wide = '<p><span style="display:inline-block;width:900px">wide</span></p></article>'
    (site / "wide.html").write_text(text.replace("</article>", wide))
    tab.resize(390)
    tab.open(f"{address}/wide.html")
    found = tab.ask(WRONG)
    (site / "wide.html").unlink()
    assert "the page scrolls sideways" in found
    assert any(each.startswith("outside: SPAN") for each in found)
