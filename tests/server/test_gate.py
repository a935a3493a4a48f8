"""Who may ask what."""

from __future__ import annotations

from typing import Any

import pytest

from simgit import Repository
from simgit.server.gate import Access, new_tokens
from simgit.server.sessions import MOST, Sessions
from tests.support.web import Client

JSON = {"Content-Type": "application/json"}
OWN = {"Origin": "http://127.0.0.1"}

REFUSED: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "no token": ("GET", "runs/main", {"Authorization": None}, 401),
    "a wrong token": ("GET", "runs/main", {"Authorization": "Bearer 0"}, 401),
    "another scheme": ("GET", "runs/main", {"Authorization": "Basic {full}"}, 401),
    "a token in another scheme's place": ("GET", "runs/main", {"Authorization": "{full}"}, 401),
    "a token of letters that no header has": ("GET", "runs/main", {"Authorization": "Bearer ü".encode()}, 401),
    "a cookie of another port": ("GET", "runs/main", {"Authorization": None, "Cookie": "simgit-1={session}"}, 401),
    "a token as a cookie": ("GET", "runs/main", {"Authorization": None, "Cookie": "simgit-0={full}"}, 401),
    "a session as a token": ("GET", "runs/main", {"Authorization": "Bearer {session}"}, 401),
    "a session of another server": ("GET", "runs/main", {"Authorization": None, "Cookie": "simgit-0={other}"}, 401),
    "openapi.json without a token": ("GET", "openapi.json", {"Authorization": None}, 401),
    "what does not exist, without a token": ("GET", "nothing", {"Authorization": None}, 401),
    "a foreign host": ("GET", "health", {"Host": "evil.example"}, 403),
    "a foreign host that begins like ours": ("GET", "health", {"Host": "127.0.0.1.evil.example"}, 403),
    "a foreign host with our port": ("GET", "health", {"Host": "evil.example:8877"}, 403),
    "an empty host": ("GET", "health", {"Host": ""}, 403),
    "reading from another site": ("GET", "runs/main", {"Sec-Fetch-Site": "cross-site"}, 403),
    "reading from a sibling site": ("GET", "runs/main", {"Sec-Fetch-Site": "same-site"}, 403),
    "a foreign origin": ("POST", "session", {**JSON, "Origin": "https://evil.example"}, 403),
    "an origin of another port": ("POST", "session", {**JSON, "Origin": "http://127.0.0.1:1"}, 403),
    "an origin of another scheme": ("POST", "session", {**JSON, "Origin": "https://127.0.0.1"}, 403),
    "an opaque origin": ("POST", "session", {**JSON, "Origin": "null"}, 403),
    "writing from another site": ("POST", "session", {**JSON, **OWN, "Sec-Fetch-Site": "cross-site"}, 403),
    "a cookie without an origin": ("DELETE", "runs/main", {"Authorization": None, "Cookie": "simgit-0={session}"}, 403),
    "a form": ("POST", "session", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "a form with files": ("POST", "session", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
    "plain text": ("POST", "session", {"Content-Type": "text/plain"}, 415),
    "a body without a type": ("POST", "session", {}, 415),
    "a view token that writes": ("DELETE", "runs/main", {"Authorization": "Bearer {view}"}, 403),
    "a view session that writes": ("DELETE", "runs/main", {"Authorization": None, "Cookie": "simgit-0={view_session}", **OWN}, 403),
    "a body that is too long": ("POST", "session", {**JSON, "Content-Length": str(33 << 20)}, 413),
    "a length that is no number": ("POST", "session", {**JSON, "Content-Length": "-1"}, 413),
    "a preflight of a foreign origin": ("OPTIONS", "runs/main", {"Origin": "https://evil.example", "Access-Control-Request-Method": "DELETE"}, 405),
    "a method that no route has": ("TRACE", "health", {}, 405),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_is_refused(client: Client, what: str) -> None:
    method, path, headers, status = REFUSED[what]
    sessions = client.access.sessions
    marks = {
        **client.access.tokens, "session": sessions.begin("full"),
        "view_session": sessions.begin("view"), "other": Sessions().begin("full"),
    }  # fmt: skip
    filled = {
        name: value.format(**marks) if isinstance(value, str) else value
        for name, value in headers.items()
    }
    before = client.repo.operations()
    body = {"content": b'{"token": "x"}'} if method == "POST" else {}
    found = client.request(method, path, headers=filled, **body)
    assert found.status_code == status, found.text
    assert found.headers["content-type"] == "application/problem+json"
    assert found.json()["status"] == status
    assert "access-control-allow-origin" not in found.headers
    assert client.repo.operations() == before


def test_every_answer_has_the_headers_that_browsers_obey(client: Client) -> None:
    for found in (client.get("health"), client.get("runs/none"), client.get("no/such")):
        assert "default-src 'self'" in found.headers["content-security-policy"]
        assert "unsafe" not in found.headers["content-security-policy"]
        assert found.headers["x-content-type-options"] == "nosniff"
        assert found.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in found.headers


def test_a_token_is_exchanged_for_a_cookie(client: Client) -> None:
    for level in ("full", "view"):
        body = {"token": client.access.tokens[level]}
        found = client.post("session", json=body, headers={"Authorization": None, **OWN})
        assert found.json() == {"level": level}
        cookie = found.headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower()
        asked = {"Authorization": None, "Cookie": cookie.partition(";")[0]}
        assert client.access.tokens[level] not in cookie
        assert client.json("version", headers=asked)["can_write"] == (level == "full")
        ended = client.request("DELETE", "session", headers=asked | OWN)
        assert ended.status_code == 204
        assert client.get("version", headers=asked).status_code == 401
    wrong = client.post("session", json={"token": "0"}, headers={"Authorization": None})
    assert wrong.status_code == 401


def test_sessions_are_bounded_for_each_level_and_the_used_ones_stay() -> None:
    sessions = Sessions()
    viewer, used, *rest = (sessions.begin(level) for level in ("view", "full", "full"))
    for _ in range(MOST - 1):
        assert sessions.level(used) == "full"
        sessions.begin("full")
    assert [sessions.level(each) for each in (viewer, used, *rest)] == ["view", "full", None]
    assert sessions.level("") is None and sessions.level("\udcff") is None


def test_a_body_without_a_length_is_bounded_too(client: Client) -> None:
    async def pieces():  # type: ignore[no-untyped-def]
        for _ in range(34):
            yield b" " * (1 << 20)

    found = client.post("states/main", content=pieces(), headers=JSON)
    assert found.status_code == 413
    assert found.json()["limit"] == 32 << 20
    found = client.post("session", content=pieces(), headers=JSON)
    assert (found.status_code, found.json()["limit"]) == (413, 4096)  # it needs no token


def test_further_hosts_and_origins_are_allowed_by_name(repo: Repository) -> None:
    origin = "https://pages.example"
    access = Access(hosts=frozenset({"lab.example"}), origins=frozenset({origin}))
    client = Client(repo, access)
    assert client.json("health", headers={"Host": "Lab.example:8877"}) == {"status": "ok"}
    asked = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    found = client.get("runs/main", headers=asked)
    assert found.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-credentials" not in found.headers
    flight = {"Origin": origin, "Access-Control-Request-Method": "DELETE", "Authorization": None}
    assert client.request("OPTIONS", "runs/main", headers=flight).status_code == 204
    other = {"Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"}
    assert client.get("runs/main", headers=other).status_code == 403
    client.close()


def test_a_server_that_only_reads_refuses_the_full_token(repo: Repository) -> None:
    client = Client(repo, Access(read_only=True))
    assert client.request("DELETE", "runs/main").status_code == 403
    assert client.json("version")["can_write"] is False
    client.close()


def test_without_tokens_loopback_may_ask_and_other_sites_may_not(repo: Repository) -> None:
    client = Client(repo, Access(tokens={}))
    assert client.json("runs/main")["name"] == "main"
    assert client.get("runs/main", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    client.close()


def test_tokens_are_long_and_new_each_time() -> None:
    found = [token for _ in range(3) for token in new_tokens().values()]
    assert len({*found}) == 6
    assert min(map(len, found)) >= 43


def test_head_is_get_without_a_body(client: Client) -> None:
    got, head = client.get("runs/main"), client.request("HEAD", "runs/main")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"]
