"""Each fault of the API server for tests is shown to happen, byte by byte."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import Any

import pytest

from simgit.errors import InvalidInput
from simgit.testing.apiserver import (
    ANSWERS,
    FAULT_KINDS,
    TOKEN,
    WATCHES,
    ApiFault,
    ApiServer,
    random_faults,
)
from tests.testing.test_apiserver import MAPS, MERGE, Client, config_map

WATCH = f"{MAPS}?watch=true&resourceVersion=1&timeoutSeconds=100"


def raw(server: ApiServer, path: str, *, until: bytes) -> bytes:
    """Return what the server sends until some bytes have come."""
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 10) as link:
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        link.sendall(f"{head}Connection: close\r\n\r\n".encode())
        data = b""
        while until not in data:
            piece = link.recv(65536)
            assert piece, data
            data += piece
        return data


def events(server: ApiServer, call: Client, fault: ApiFault, names: str = "ab") -> list[Any]:
    """Return the decoded lines of a watch with a fault, while objects with the names are created.

    Empty lines are left out; a line that is no JSON is returned as bytes.
    """
    server.faults = [fault]
    found: list[Any] = []
    with call.stream(WATCH) as answer:
        for name in names:
            call("POST", MAPS, config_map(name))
        timer = threading.Thread(target=server.advance, args=(100,))
        timer.start()
        for line in answer:
            try:
                found += [json.loads(line)] if line.strip() else []
            except ValueError:
                found.append(line)
        timer.join()
    return found


def names_of(found: list[Any]) -> list[str]:
    return [event["object"]["metadata"]["name"] for event in found]


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("body", ["json", "text", "empty"])
def test_answers_that_fail_have_no_effect(kind: str, body: str) -> None:
    with ApiServer(faults=[ApiFault(kind, at=2, body=body)]) as server:
        call = Client(server)
        assert call("GET", MAPS)[0] == 200
        code, answer = call("POST", MAPS, config_map("a"))
        assert code == int(kind)
        if body == "json":
            assert (answer["kind"], answer["code"]) == ("Status", int(kind))
        else:
            assert isinstance(answer, str) and bool(answer) is (body == "text")
        assert server.objects("configmaps") == []
        assert call("POST", MAPS, config_map("a"))[0] == 201
        assert [(r.status, r.fault) for r in server.requests] == [
            (200, None),
            (int(kind), kind),
            (201, None),
        ]


def test_too_many_requests_says_when_to_retry() -> None:
    with ApiServer(faults=[ApiFault("429", retry_after=7), ApiFault("429", retry_after=None)]) as s:
        for header in ("7", None):
            with Client(s).stream(MAPS) as answer:
                assert answer.headers["Retry-After"] == header


@pytest.mark.parametrize(("kind", "left"), [("reset", []), ("reset-after", ["a"])])
def test_a_reset_comes_before_or_after_the_effect(kind: str, left: list[str]) -> None:
    with ApiServer(faults=[ApiFault(kind)]) as server:
        call = Client(server)
        with pytest.raises(ConnectionResetError):
            call("POST", MAPS, config_map("a"))
        assert [m["metadata"]["name"] for m in server.objects("configmaps")] == left
        assert server.requests[0].status == 0
        assert call("POST", MAPS, config_map("a"))[0] == (409 if left else 201)


def test_a_request_that_is_never_answered() -> None:
    with ApiServer(faults=[ApiFault("half-open")]) as server:
        host = server.url.removeprefix("http://")
        link = http.client.HTTPConnection(host, timeout=0.05)
        link.request("GET", MAPS, headers={"Authorization": f"Bearer {TOKEN}"})
        with pytest.raises(TimeoutError):
            link.getresponse()
        link.close()
        assert Client(server)("GET", MAPS)[0] == 200


def test_a_watch_that_is_accepted_and_then_silent() -> None:
    with ApiServer(faults=[ApiFault("half-open")]) as server:
        call = Client(server)
        with call.stream(WATCH) as answer:
            assert answer.status == 200
            call("POST", MAPS, config_map("a"))
            server.advance(1000)
            assert answer.fp is not None
            answer.fp.raw._sock.settimeout(0.05)  # type: ignore[attr-defined]
            with pytest.raises(TimeoutError):
                answer.readline()


def test_slow_bytes_and_split_characters_arrive_whole() -> None:
    for kind in ("slow", "split"):
        with ApiServer(faults=[ApiFault(kind, at=2)]) as server:
            call = Client(server)
            value = config_map("a", annotations={"x": "é€😀"})
            call("POST", MAPS, value)
            assert call("GET", f"{MAPS}/a")[1]["metadata"]["annotations"] == {"x": "é€😀"}


def test_a_character_of_a_watch_is_split_between_chunks() -> None:
    with ApiServer(faults=[ApiFault("split")]) as server:
        server.create(config_map("a"))
        data = raw(server, f"{MAPS}?watch=true", until=b"\xc3\r\n")
        assert "é".encode() not in data
    with ApiServer() as server:
        found = events(server, Client(server), ApiFault("split"))
        assert names_of(found) == ["a", "b"]
        assert all(event["object"]["metadata"]["x"] == "aé€😀" for event in found)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("duplicate", "aabbcc"),
        ("reorder", "bac"),
        ("empty-lines", "abc"),
        ("slow", "abc"),
    ],
)
def test_events_of_a_watch_that_come_oddly(kind: str, names: str) -> None:
    with ApiServer() as server:
        found = events(server, Client(server), ApiFault(kind), "abc")
        assert "".join(names_of(found)) == names


def test_empty_lines_are_chunks_of_their_own() -> None:
    with ApiServer(faults=[ApiFault("empty-lines")]) as server:
        server.create(config_map("a"))
        raw(server, f"{MAPS}?watch=true", until=b"\r\n1\r\n\n\r\n")


def test_410_in_the_middle_of_a_watch() -> None:
    with ApiServer() as server:
        found = events(server, Client(server), ApiFault("gone"))
        assert names_of(found[:1]) == ["a"]
        assert [(e["type"], e["object"]["code"]) for e in found[1:]] == [("ERROR", 410)]


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_watch_that_is_closed_early(after: int) -> None:
    with ApiServer() as server:
        assert (
            names_of(events(server, Client(server), ApiFault("closed", after=after)))[:after]
            == [
                "a",
                "b",
            ][:after]
        )


def test_a_watch_that_breaks_in_the_middle_of_a_line() -> None:
    with ApiServer(faults=[ApiFault("cut")]) as server:
        call = Client(server)
        with call.stream(WATCH) as answer:
            call("POST", MAPS, config_map("a"))
            assert json.loads(answer.readline())["type"] == "ADDED"
            call("POST", MAPS, config_map("b"))
            with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
                answer.read()


def test_a_line_of_a_watch_that_is_no_json() -> None:
    with ApiServer() as server:
        found = events(server, Client(server), ApiFault("garbage"))
        assert found[1] == b"<html>upstream request timeout</html>\n"


def test_a_fault_strikes_the_requests_that_match() -> None:
    fault = ApiFault("500", match=lambda method, path: method == "DELETE", times=2)
    with ApiServer(faults=[fault]) as server:
        call = Client(server)
        call("POST", MAPS, config_map("a"))
        assert [call("DELETE", f"{MAPS}/a")[0] for _ in range(4)] == [500, 500, 200, 404]


def test_a_watch_fault_leaves_other_requests_alone() -> None:
    with ApiServer(faults=[ApiFault("gone", times=None)]) as server:
        call = Client(server)
        assert call("GET", MAPS)[0] == 200
        assert server.requests[0].fault is None


def test_random_faults_repeat_with_their_seed() -> None:
    def told(seed: int) -> list[str | None]:
        with ApiServer(faults=random_faults(seed, 0.5, ANSWERS)) as server:
            call = Client(server)
            for _ in range(30):
                call("GET", MAPS)
            return [request.fault for request in server.requests]

    assert told(1) == told(1) != told(2)
    assert 5 < sum(kind is not None for kind in told(1)) < 25


def test_a_fault_with_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InvalidInput, match="unknown fault 'rest'; did you mean 'reset'"):
        ApiFault("rest")


SCRIPT = (
    ("GET", MAPS, None),
    ("POST", MAPS, config_map("a")),
    ("GET", WATCH, None),
    ("PATCH", f"{MAPS}/a", {"data": {"k": "w"}}),
    ("DELETE", f"{MAPS}/a", None),
)


def send(server: ApiServer, method: str, path: str, body: Any) -> str | None:
    """Send a request, take what comes of it, and return its fault."""
    link = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": MERGE}
    number = len(server.requests)
    try:
        link.request(method, path, body and json.dumps(body), headers)
        while len(server.requests) == number:
            time.sleep(0.001)
        if server.requests[-1].fault != "half-open":
            answer = link.getresponse()
            if path != WATCH:
                answer.read()
    except (ConnectionError, http.client.HTTPException):
        assert server.requests[-1].fault is not None
    finally:
        link.close()
    return server.requests[-1].fault


@pytest.mark.slow
def test_every_fault_at_every_request_of_a_script() -> None:
    """The server outlives all of it: it answers afterwards, and its store is whole."""
    with ApiServer() as server:
        for kind in FAULT_KINDS:
            for at in range(len(SCRIPT)):
                server.faults = [ApiFault(kind, at=len(server.requests) + at + 1, after=0)]
                struck = [send(server, *request) for request in SCRIPT]
                watched = kind in WATCHES and at != SCRIPT.index(("GET", WATCH, None))
                assert struck == [kind if n == at and not watched else None for n in range(5)]
                for left in server.objects("configmaps"):
                    server.delete("configmaps", left["metadata"]["name"], "default")
        server.faults = []
        assert Client(server)("POST", MAPS, config_map("a"))[0] == 201
