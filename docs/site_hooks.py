"""What is done to the HTML of the site's pages: in a table, names and short commands are not broken at their hyphens.

A browser may break a line behind any hyphen, and no style says otherwise for some words of a text only.
"""

from __future__ import annotations

import re

CELL = re.compile(r"<t[dh][ >].*?</t[dh]>", re.DOTALL)
CODE = re.compile(r"<code>([^<]*)</code>")
WHOLE = 32  # characters of a command that stays on one line
LONGEST = 48  # characters of a name that does


def on_page_content(html: str, **_: object) -> str:
    """Called by mkdocs with the HTML of each page; the HTML to use."""
    return CELL.sub(lambda cell: CODE.sub(lambda code: _kept(code[1]), cell[0]), html)


def _kept(text: str) -> str:
    """A piece of code as HTML that breaks between its words only, or not at all where it is short.

    A bar in a cell is written with a backslash, which this renderer leaves in code.
    """
    text = text.replace("\\|", "|")
    if len(text) <= WHOLE:
        return f'<code class="whole">{text}</code>'
    words = (
        f'<span class="whole">{word}</span>' if "-" in word and len(word) <= LONGEST else word
        for word in text.split(" ")
    )
    return f"<code>{' '.join(words)}</code>"
