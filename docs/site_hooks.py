"""What is done to the site's pages: names and options are not broken at hyphens, errors are found first.

A browser may break a line behind any hyphen, and no style says otherwise for some words of a text only. An error that is
pasted into the search has words that stand on many pages; the one that explains it comes before them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

CELL = re.compile(r"<t[dh][ >].*?</t[dh]>", re.DOTALL)
CODE = re.compile(r"(?<!<pre>)(?<!<span></span>)<code>([^<]*)</code>")  # in a line, not a block
NAME = re.compile(r"<a (href=\"#[^\"]*\">[a-z0-9-]+</a>)")  # of an error, leading to its section
ERRORS, BOOST = "troubleshooting.md", 10  # times as important as it would be
SHORT = 32  # characters that stay on one line; they fit on the narrowest telephone


def on_page_content(html: str, page: Page, **_: object) -> str:
    """Called by mkdocs with the HTML of each page; the HTML to use."""
    if page.file.src_uri == ERRORS:
        page.meta["search"] = {"boost": BOOST}
    html = CELL.sub(lambda cell: NAME.sub(r'<a class="whole" \1', CODE.sub(_in_cell, cell[0])), html)
    return CODE.sub(lambda code: f"<code>{_words(code[1])}</code>", html)


def _in_cell(code: re.Match[str]) -> str:
    """A piece of code in a cell. A bar there is written with a backslash, which this renderer leaves in code."""
    text = code[1].replace("\\|", "|")
    if len(text) <= SHORT:
        return f'<code class="whole">{text}</code>'
    return f"<code>{_words(text).replace('|', '|<wbr>')}</code>"


def _words(text: str) -> str:
    """It breaks between its words only, as far as they are short."""
    return " ".join(
        f'<span class="whole">{word}</span>' if "-" in word and len(word) <= SHORT else word
        for word in text.split(" ")
    )
