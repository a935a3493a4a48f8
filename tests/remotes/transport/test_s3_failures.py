"""What goes wrong with an S3 store is told in one line, and repeated only if that is harmless."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from simgit.errors import (
    AlreadyExists,
    Conflict,
    IntegrityError,
    InvalidInput,
    NotFound,
    StorageFullError,
    TransportError,
)
from simgit.remotes.transport import Transport, open_transport, probe_conditions, s3
from tests.remotes.transport import replies
from tests.remotes.transport.replies import Reply, Server, error, found

pytestmark = pytest.mark.usefixtures("keys")
KNOWN_ETAG = "b026324c6904b2a9cb4b88d6d61c81d1"


@pytest.fixture
def transport(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    """A transport to the server, which does not wait before it tries again."""
    monkeypatch.setattr(s3, "PAUSE", 0)
    with open_transport("s3://bucket/prefix", endpoint=server.address) as transport:
        yield transport


def raised(call: Callable[[], Any]) -> TransportError:
    with pytest.raises(TransportError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (error(403, "InvalidAccessKeyId"), "denied",
         "bucket 'bucket' at ADDRESS refuses (403 InvalidAccessKeyId): it does not know the access "
         "key: check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile of the remote"),
        (error(403, "SignatureDoesNotMatch"), "denied",
         "bucket 'bucket' at ADDRESS refuses (403 SignatureDoesNotMatch): the secret key is another: "
         "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile of the remote"),
        (error(400, "ExpiredToken"), "denied",
         "bucket 'bucket' at ADDRESS refuses (400 ExpiredToken): the credentials have expired: get "
         "new ones"),
        (error(403, "AccessDenied"), "denied",
         "object 'a/b' in bucket 'bucket' at ADDRESS is refused (403 AccessDenied): it is not "
         "permitted to this access key, or there is none: the key needs s3:GetObject, s3:PutObject "
         "and s3:DeleteObject on the objects, and s3:ListBucket on the bucket"),
        (error(404, "NoSuchBucket"), "no-bucket",
         "there is no bucket 'bucket' at ADDRESS: make it, or check its name and the endpoint"),
        (error(403, "RequestTimeTooSkewed"), "clock",
         "the clocks of this machine and of bucket 'bucket' at ADDRESS differ too much: set this "
         "one"),
        (error(301, "PermanentRedirect"), "no-bucket",
         "bucket 'bucket' at ADDRESS is in another region than 'us-east-1': set the region of the "
         "remote"),
        (error(400, "AuthorizationHeaderMalformed"), "no-bucket",
         "bucket 'bucket' at ADDRESS is in another region than 'us-east-1': set the region of the "
         "remote"),
        (error(501, "NotImplemented", "A header is not."), "unsupported",
         "bucket 'bucket' at ADDRESS cannot do what a remote needs (501 NotImplemented): A header "
         "is not."),
        (Reply(404, b"<html>no such page</html>"), "unsupported",
         "bucket 'bucket' at ADDRESS does not answer as S3 does (404): check the endpoint"),
        (error(400, "InvalidArgument", "x is y"), "unknown",
         "bucket 'bucket' at ADDRESS refuses (400 InvalidArgument): x is y"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_in_one_line_and_not_repeated(
    server: Server, transport: Transport, reply: Reply, kind: str, said: str
) -> None:
    server.replies = [reply]
    calls: list[Callable[[], Any]] = [
        lambda: transport.get("a/b"),
        lambda: transport.get_range("a/b", 0, 1),
        lambda: transport.put("a/b", b"1"),
        lambda: transport.put_new("a/b", b"1"),
        lambda: transport.put_if("a/b", b"1", KNOWN_ETAG),
        lambda: transport.delete(["a/b"]),
        lambda: list(transport.list("a")),
    ]
    for number, call in enumerate(calls, 1):
        caught = raised(call)
        expected = said.replace("ADDRESS", server.address)
        if call is calls[-1]:
            expected = expected.replace("object 'a/b' in ", "")
        assert str(caught) == expected
        assert (caught.kind, caught.retryable, caught.unknown) == (kind, False, False)
        has_words = b"request-7" in reply.body and reply.status != 301  # which obstore drops
        assert caught.request_id == ("request-7" if has_words else None)
        assert len(server.asked) == number == transport.counts.requests


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (error(403, "InvalidAccessKeyId"), "denied"),
        (error(404, "NoSuchBucket"), "no-bucket"),
        (error(403, "RequestTimeTooSkewed"), "clock"),
    ],
)
def test_a_head_has_no_words_so_they_are_asked_for(
    server: Server, transport: Transport, reply: Reply, kind: str
) -> None:
    server.replies = [reply]
    assert raised(lambda: transport.head("a/b")).kind == kind
    assert [each[0] for each in server.asked] == ["HEAD", "GET"]


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (error(503, "SlowDown"), "throttled", "is too busy (503 SlowDown): try again later"),
        (error(429, "TooManyRequests"), "throttled", "is too busy (429 TooManyRequests): try"),
        (error(500, "InternalError"), "unreachable", "failed (500 InternalError): try again later"),
        (error(503, "ServiceUnavailable"), "throttled", "is too busy (503 ServiceUnavailable)"),
        (Reply(502, b"<html>bad gateway</html>"), "unreachable", "failed (502): try again later"),
        (Reply(503, b"<html>no server</html>"), "unreachable", "failed (503): try again later"),
        (Reply(cut=-1), "unreachable", "cannot reach bucket 'bucket' at "),
    ],
)  # fmt: skip
def test_a_store_that_fails_for_long_is_asked_five_times(
    server: Server, transport: Transport, reply: Reply, kind: str, said: str
) -> None:
    server.replies = [reply]
    for call in (
        lambda: transport.get("a"),
        lambda: transport.put("a", b"1"),
        lambda: transport.delete(["a"]),
        lambda: list(transport.list("")),
    ):
        server.asked.clear()
        before = transport.counts.retries
        caught = raised(call)
        assert said in str(caught)
        assert str(caught).endswith(" (tried 5 times)")
        assert (caught.kind, caught.retryable, caught.unknown) == (kind, True, False)
        assert len(server.asked) == 5
        assert transport.counts.retries - before == 4


@pytest.mark.parametrize(
    "reply",
    [error(503, "SlowDown"), error(500, "InternalError"), Reply(cut=-1), found(b"12345", 3)],
)
def test_a_store_that_fails_for_a_moment_is_not_noticed(
    server: Server, transport: Transport, reply: Reply
) -> None:
    server.replies = [reply, reply, found(b"12345")]
    got = transport.get("a")
    assert got is not None and got.data == b"12345"
    assert (transport.counts.requests, transport.counts.retries) == (3, 2)
    assert transport.counts.received == 5


@pytest.mark.parametrize(
    ("reply", "is_unknown"),
    [
        (Reply(cut=-1), True),
        (error(500, "InternalError"), True),
        (Reply(502), True),
        (Reply(503), True),
        (error(503, "ServiceUnavailable"), True),
        (Reply(504), True),
    ],
)
def test_a_write_under_a_condition_is_sent_once(
    server: Server, transport: Transport, reply: Reply, is_unknown: bool
) -> None:
    server.replies = [reply]
    for number, call in enumerate(
        (lambda: transport.put_new("a", b"1"), lambda: transport.put_if("a", b"1", KNOWN_ETAG)), 1
    ):
        caught = raised(call)
        assert caught.unknown == is_unknown
        assert caught.retryable
        assert ("'a' may have been written or not" in str(caught)) == is_unknown
        assert len(server.asked) == number
    assert [each[2].get("if-none-match") for each in server.asked] == ["*", None]
    assert [each[2].get("if-match") for each in server.asked] == [None, f'"{KNOWN_ETAG}"']
    assert transport.counts.retries == 0


@pytest.mark.parametrize(
    "reply", [error(503, "SlowDown"), error(429, "TooManyRequests"), Reply(429)]
)
def test_a_write_under_a_condition_that_the_store_had_no_time_for_is_sent_again(
    server: Server, transport: Transport, reply: Reply
) -> None:
    for number, call in enumerate(
        (lambda: transport.put_new("a", b"1"), lambda: transport.put_if("a", b"1", KNOWN_ETAG)), 1
    ):
        server.asked.clear()
        server.replies = [reply, reply, found(b"1")]
        assert call()
        conditions = [(a[2].get("if-match"), a[2].get("if-none-match")) for a in server.asked]
        assert conditions == 3 * [(None, "*") if number == 1 else (f'"{KNOWN_ETAG}"', None)]
        assert transport.counts.retries == 2 * number
    server.replies = [reply]
    caught = raised(lambda: transport.put_new("a", b"1"))
    assert (caught.kind, caught.retryable, caught.unknown) == ("throttled", True, False)
    assert str(caught).endswith("try again later (tried 5 times)")


@pytest.mark.parametrize("status", [409, 412])
def test_two_ways_to_say_that_another_was_first(
    server: Server, transport: Transport, status: int
) -> None:
    server.replies = [error(status, "ConditionalRequestConflict")]
    with pytest.raises(AlreadyExists):
        transport.put_new("a", b"1")
    with pytest.raises(Conflict):
        transport.put_if("a", b"1", KNOWN_ETAG)
    assert len(server.asked) == 2


def test_a_server_that_is_not_there_was_not_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3, "PAUSE", 0)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    transport = open_transport("s3://bucket", endpoint=address)
    caught = raised(lambda: transport.put_new("a", b"1"))
    assert str(caught) == (
        f"cannot reach bucket 'bucket' at {address}: connection refused; check the endpoint and "
        "the network"
    )
    assert (caught.kind, caught.retryable, caught.unknown) == ("unreachable", True, False)
    assert transport.counts.requests == 1
    caught = raised(lambda: transport.get("a"))
    assert str(caught).endswith("check the endpoint and the network (tried 5 times)")


def test_an_object_that_does_not_end_is_not_read(server: Server, transport: Transport) -> None:
    server.replies = [found(bytes(1 << 20))._replace(times=4096)]
    with pytest.raises(IntegrityError, match="'a' in 's3://bucket/prefix' has more than the 8192"):
        transport.get("a", most=8192)
    with pytest.raises(TransportError, match="it sends all of an object where a part is asked for"):
        transport.get_range("a", 0, 100)
    server.replies = [server.replies[0]._replace(status=206, headers=(
        *server.replies[0].headers, ("Content-Range", "bytes 0-99/100")
    ))]  # fmt: skip
    with pytest.raises(IntegrityError, match="'a' in 's3://bucket/prefix' has more than the 100"):
        transport.get_range("a", 0, 100)
    assert server.sent < 64 << 20


def test_a_full_store_is_a_full_disk(server: Server, transport: Transport) -> None:
    server.replies = [error(403, "QuotaExceeded")]
    with pytest.raises(StorageFullError, match=r"no space is left in .* \(403 QuotaExceeded\)"):
        transport.put("a", b"1")
    server.replies = [error(507, "XMinioStorageFull")]
    with pytest.raises(StorageFullError):
        transport.put_new("a", b"1")


def test_one_object_that_cannot_be_deleted_is_told(server: Server, transport: Transport) -> None:
    server.replies = [
        Reply(200, b"<DeleteResult><Deleted><Key>prefix/a</Key></Deleted><Error><Key>prefix/b</Key>"
                   b"<Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>")
    ]  # fmt: skip
    caught = raised(lambda: transport.delete(["a", "b"]))
    assert caught.kind == "denied"
    assert "(AccessDenied)" in str(caught)


def test_a_store_that_lists_in_no_order_is_refused(server: Server, transport: Transport) -> None:
    row = (
        "<Contents><Key>prefix/{}</Key><Size>1</Size>"
        "<LastModified>2026-11-30T17:12:41.000Z</LastModified><ETag>x</ETag></Contents>"
    )
    server.replies = [
        Reply(200, "<ListBucketResult><IsTruncated>false</IsTruncated>{}</ListBucketResult>".format(
            "".join(row.format(key) for key in ("b", ".hidden", "a b", "a"))).encode())
    ]  # fmt: skip
    with pytest.raises(TransportError, match="a remote needs keys in order") as caught:
        list(transport.list(""))
    assert caught.value.kind == "unsupported"


def test_a_listing_goes_on_where_it_was_cut(server: Server, transport: Transport) -> None:
    def page(keys: range, more: str) -> Reply:
        rows = "".join(
            f"<Contents><Key>prefix/{i:04}</Key><Size>1</Size><LastModified>"
            f"2026-11-30T17:12:41.000Z</LastModified><ETag>&quot;e{i}&quot;</ETag></Contents>"
            for i in keys
        )
        return Reply(200, f"<ListBucketResult>{more}{rows}</ListBucketResult>".encode())

    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
    last = "<IsTruncated>false</IsTruncated>"
    server.replies = [page(range(1000), more), Reply(503), page(range(1000, 1003), last)]
    found_ = list(transport.list("", etags=True))
    assert [each.key for each in found_] == [f"{i:04}" for i in range(1003)]
    assert found_[-1].etag == "e1002"
    assert "start-after=prefix%2F0999" in server.asked[-1][1]
    assert (transport.counts.requests, transport.counts.retries) == (3, 1)
    server.asked.clear()
    server.replies = [page(range(1000), last)]
    assert len(list(transport.list(""))) == 1000
    assert len(server.asked) == 1
    assert transport.counts.requests == 4


def test_a_store_without_ranges_is_refused(server: Server, transport: Transport) -> None:
    server.replies = [found(b"12345")]
    caught = raised(lambda: transport.get_range("a", 1, 2))
    assert caught.kind == "unsupported"
    assert "it sends all of an object where a part is asked for" in str(caught)


def test_a_store_that_ignores_conditions_is_told() -> None:
    with replies.careless() as (address, objects):
        transport = open_transport("s3://bucket/prefix", endpoint=address)
        assert probe_conditions(transport, "") == "none"
        assert transport.conditional == "etag"
        assert objects == {}
        transport.put_new("a", b"1")
        transport.put_new("a", b"2")  # as it says: nothing was refused
        assert objects == {"/bucket/prefix/a": b"2"}


def test_a_store_that_refuses_conditions_is_told(server: Server, transport: Transport) -> None:
    server.replies = [error(501, "NotImplemented")]
    assert probe_conditions(transport, "x") == "none"
    server.replies = [error(403, "AccessDenied")]
    assert raised(lambda: probe_conditions(transport, "x")).kind == "denied"


def test_what_no_server_has_is_missing_from_a_real_one(
    moto: str, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = open_transport("s3://no-such-bucket/x", endpoint=moto)
    for call in (
        lambda: transport.get("a"), lambda: transport.head("a"), lambda: list(transport.list("")),
        lambda: transport.put("a", b""), lambda: transport.put_new("a", b""),
        lambda: transport.put_if("a", b"", KNOWN_ETAG), lambda: transport.delete(["a"]),
        lambda: probe_conditions(transport, ""),
    ):  # fmt: skip
        assert raised(call).kind == "no-bucket"


class _Pipe(io.RawIOBase):
    """A file that cannot be read twice."""

    def __init__(self, blocks: list[bytes]) -> None:
        self.blocks = blocks

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.blocks:
            return 0
        block = self.blocks.pop(0)
        if block == b"break":
            raise OSError(5, "the pipe broke")
        buffer[: len(block)] = block
        return len(block)


@pytest.mark.slow
def test_a_large_object_is_sent_in_parts(moto: str, bucket: str) -> None:
    transport = open_transport(f"s3://{bucket}/x", endpoint=moto)
    data = bytes(range(256)) * (33 << 12)
    assert len(data) == 33 << 20
    etags = [
        transport.put("a", data),
        transport.put("b", io.BytesIO(data)),
        transport.put("c", io.BufferedReader(_Pipe([data[i : i + 4096] for i in range(0, len(data), 4096)]))),  # type: ignore[arg-type]
    ]  # fmt: skip
    assert len(set(etags)) == 1
    counts = transport.counts
    assert (counts.requests, counts.sent, counts.retries) == (3 * 7, 3 * len(data), 0)
    for key in "abc":
        got = transport.get(key)
        assert got is not None and got.data == data
        assert got.etag == etags[0]


@pytest.mark.slow
def test_a_file_that_breaks_leaves_no_object(moto: str, bucket: str) -> None:
    transport = open_transport(f"s3://{bucket}/x", endpoint=moto)
    blocks = [b"x" * 4096] * (33 << 8)
    with pytest.raises(OSError, match="the pipe broke"):
        transport.put("a", io.BufferedReader(_Pipe([*blocks, b"break"])))  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        transport.get("a")


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("s3://user:secret@bucket/x", {}, "must not have a user's name or password"),
        ("s3://AKIA@bucket/x", {}, "must not have a user's name or password"),
        ("s3://bucket", {"endpoint": "https://user:secret@host"}, "must not have a user's name"),
        (
            "s3://bucket",
            {"endpoint": "ftp://host"},
            "'ftp://host' is not an endpoint: give http://",
        ),
        ("s3://bucket", {"endpoint": "host:9000"}, "'host:9000' is not an endpoint"),
        ("s3://bucket", {"endpoint": "http://host:x"}, "'http://host:x' is not an endpoint"),
        ("s3://", {}, "'s3://' has no name of a bucket: give s3://bucket/prefix"),
        ("s3:///x", {}, "has no name of a bucket"),
        ("s3://bucket/a?b", {}, "'a?b' is not a key of an object"),
        ("s3://bucket/../b", {}, "'../b' is not a key of an object"),
        (
            "https://host/bucket",
            {},
            "not https://; for a server of your own, give s3://bucket/prefix",
        ),
        ("git@host:repo://x", {}, "remotes have URLs that begin with s3:// or file://"),
        (
            "/tmp/x",
            {"region": "x"},
            "an endpoint, a region and a profile are for s3:// remotes only",
        ),
        ("file://host/x", {}, "the URL of a directory is file:///path, with three slashes"),
        ("file:///a%00b", {}, "has a null character"),
        ("", {}, "the path of a remote is empty"),
        ("memory://", {}, "has no name"),
    ],
)
def test_what_is_no_url_of_a_remote_is_refused(
    url: str, options: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_transport(url, **options)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "AKIA" not in str(caught.value)
