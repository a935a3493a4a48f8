"""The page as files: what is sent, and what is not."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest

from simgit import Repository
from simgit.server.static import files
from tests.support.web import Client, serving


def ask(client: Client, path: str, **headers: str) -> httpx.Response:
    """Ask for what is not below /v1/."""
    return client.get(f"../{path}", headers={"Authorization": None, **headers})


def test_the_page_needs_no_token_and_says_nothing_of_the_repository(client: Client) -> None:
    for path in ("", "runs", "run/main", "run/a/b?step=3", "repository"):
        found = ask(client, path)
        assert found.status_code == 200, path
        assert found.headers["content-type"].startswith("text/html")
        assert "main.js" in found.text and "sweep" not in found.text
        assert "script-src" not in found.headers["content-security-policy"]
    assert ask(client, "nowhere").status_code == 404


@pytest.mark.slow
def test_a_file_is_for_ever_and_another_version_is_not_found(client: Client) -> None:
    version, found = files()
    for name, file in found.items():
        if name == "index.html":
            continue
        sent = ask(client, f"page/{version}/{name}")
        assert sent.status_code == 200 and sent.content == file.data
        assert "immutable" in sent.headers["cache-control"]
        assert gzip.decompress(file.packed) == file.data
    assert ask(client, "page/0123456789abcdef/main.js").status_code == 404


@pytest.mark.parametrize("path", ["../static.py", "..%2fstatic.py", "%2e%2e/static.py", "vendor", "/etc/passwd", "vendor/README.md"])  # fmt: skip
def test_only_files_of_the_page_are_sent(client: Client, path: str) -> None:
    assert ask(client, f"page/{files()[0]}/{path}").status_code == 404


def test_what_a_browser_has_costs_a_304(client: Client) -> None:
    first = ask(client, "runs")
    again = ask(client, "run/main", **{"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and not again.content


@pytest.mark.slow
def test_without_the_page_there_is_the_api_only(tmp_path: Path) -> None:
    Repository.init(tmp_path).close()
    with serving(tmp_path, "--no-page") as server:
        assert httpx.get(server.address["url"]).status_code == 404
        assert httpx.get(server.url + "health").json() == {"status": "ok"}
