"""Check the built site: ``python docs/scripts/check_site.py build/site``.

Every link within it leads to a file, and to an anchor of that file. Nothing is loaded from another
host, so that the site can be read without a network.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
NOT_LOADED = {"canonical", "next", "prev", "alternate"}


class Page(HTMLParser):
    """The links of a page, what it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}
        for name, value in attrs:
            if not value:
                continue
            if (tag, name) in LOADED and given.get("rel") not in NOT_LOADED:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def problems(site: Path) -> Iterator[str]:
    """Yield what is wrong, one line each."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}
    pages = {path: Page(text) for path, text in texts.items()}
    for path, page in pages.items():
        if escaped := re.search(r"<code>[^<]*\\\|[^<]*</code>", texts[path]):
            yield f"{path}: a bar is shown with its escape: {escaped[0]}"
        for target in page.loaded:
            if urlsplit(target).netloc:
                yield f"{path}: loads '{target}'"
        for target in page.links + page.loaded:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            found = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not found.exists():
                yield f"{path}: no file '{target}'"
            elif parts.fragment and unquote(parts.fragment) not in pages[found].anchors:
                yield f"{path}: no anchor '{target}'"
    for path in [*site.rglob("*.css"), *site.rglob("*.svg")]:
        if "url(http" in path.read_text(encoding="utf-8", errors="replace"):
            yield f"{path}: loads from another host"


def main(site: Path) -> int:
    """Print what is wrong, and return the exit status."""
    if not (site / "index.html").exists():
        print(f"no site at '{site}'", file=sys.stderr)
        return 2
    found = list(problems(site.resolve()))
    print(*found, sep="\n", end="\n" * bool(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
