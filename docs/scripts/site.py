"""What MkDocs is told beside mkdocs.yml: pages of the root, and links to files that are no pages.

The pages are read on disk as well as on the site. A link such as ``../examples/demo.py`` works on
disk; on the site it has to lead to the repository. The changelog and the page for contributors lie
in the root, where everybody looks for them, and are pages of the site.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_CODE = re.compile(r"(?<!`)`[^`\n]*\\\|[^`\n]*`")  # with a bar that GitHub needs escaped in a table


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie in the root."""
    for source, page in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_from_root(text)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links that leave docs/ to the pages of the root, or to the repository; unescape bars."""
    folder = posixpath.dirname(page.file.src_uri)

    def lead(match: re.Match[str]) -> str:
        begin, target, end = match.groups()
        if ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join("docs", folder, target))
        if path in ROOT_PAGES:
            target = posixpath.relpath(ROOT_PAGES[path], folder or ".")
        elif not path.startswith("docs/"):
            target = _address(path)
        return f"{begin}{target}{end}"

    rows = [
        _CODE.sub(lambda found: found[0].replace("\\|", "|"), line) if line[:1] == "|" else line
        for line in markdown.split("\n")
    ]
    return _LINK.sub(lead, "\n".join(rows))


def _from_root(text: str) -> str:
    """Return a page of the root with links as from within docs/."""

    def lead(match: re.Match[str]) -> str:
        begin, target, end = match.groups()
        if ":" in target:
            return match[0]
        return f"{begin}{posixpath.relpath(target, 'docs')}{end}"

    return _LINK.sub(lead, text)


def _address(path: str) -> str:
    """Return where a file of the repository is to be read."""
    if not (ROOT / path).exists():
        return path  # MkDocs says that it is not found
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{settings['project']['urls']['Source']}/{kind}/main/{path}"
