"""Objects in a bucket of S3, or of a server with its interface; the only door to obstore.

obstore repeats requests by itself, those with conditions too when a connection breaks, and counts
none of it. So this is turned off, and requests are repeated here: those with conditions only where
the store was too busy for them.
Parts of an upload in several parts are repeated by obstore, and not counted.

Processes that were forked must open transports of their own.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar
from urllib.parse import urlsplit

from simgit.errors import InvalidInput, NotFound, SimgitError, TransportError, reason
from simgit.remotes.transport import base, failures
from simgit.remotes.transport.base import PAGE, Got, Listed, Transport
from simgit.remotes.transport.failures import TRIES, StoreAnswer
from simgit.remotes.transport.profiles import Profile, read_profile

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta, PutMode, PutResult
    from obstore.store import ClientConfig, S3Config, S3Credential, S3Store

MULTIPART: Final = 32 << 20
"""Bytes from which on an object is sent in parts."""
_PART: Final = 8 << 20
"""The least bytes of a part; S3 has 10 000 parts at most."""
_SMALL: Final = 1 << 20
"""Bytes up to which a request must have an answer in a minute."""
PAUSE: Final = 0.1
"""Seconds before a request is sent again: between 0 and twice as much, and so on; ten times as much
where the store asks for fewer requests."""
_BLOCK: Final = 1 << 20
"""Bytes that are read at once from a file that is sent in parts."""
_OWN_ROLES: Final = (
    "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)  # fmt: skip
_T = TypeVar("_T")


class S3Transport(Transport):
    """A bucket, or what is below a prefix of it; no request is made until one is asked for."""

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        region: str | None = None,
        profile: str | None = None,
    ) -> None:
        """Find the credentials, the region and the endpoint.

        Args:
            bucket: its name.
            prefix: what all keys begin with, without a slash at its end.
            endpoint: ``http://host:port`` or ``https://host:port``; else that of
                ``AWS_ENDPOINT_URL_S3``, ``AWS_ENDPOINT_URL`` or the profile; else AWS.
            region: else that of ``AWS_REGION``, ``AWS_DEFAULT_REGION`` or the profile; else
                ``us-east-1``.
            profile: the profile of ``~/.aws`` with the keys. Else ``AWS_ACCESS_KEY_ID`` and
                ``AWS_SECRET_ACCESS_KEY``, the profile ``AWS_PROFILE``, a web identity or a
                container's, the profile ``default``, or the role of the machine.

        Raises:
            InvalidInput: a setting is of no use.
            NotFound: obstore is not installed; or there is no such profile.
        """
        try:
            import obstore
            from obstore.exceptions import BaseError
        except ImportError:
            raise NotFound("remotes s3:// need obstore: pip install 'simgit[s3]'") from None
        super().__init__(f"s3://{bucket}/{prefix}".rstrip("/"), "etag")
        self._obstore = obstore
        self._failures = (BaseError, FileNotFoundError)
        self._has_bucket = False
        found = _profile(profile)
        endpoint = endpoint or _environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        endpoint = _checked(endpoint or _environment("AWS_ENDPOINT") or found.endpoint)
        region = region or _environment("AWS_REGION", "AWS_DEFAULT_REGION") or found.region
        self._region = region or "us-east-1"
        self._place = f"bucket '{bucket}' at {endpoint or 'AWS'}"
        config: S3Config = {"region": self._region, "conditional_put": "etag"}
        if endpoint:
            config["aws_endpoint_url_s3"] = endpoint
        is_plain = bool(endpoint) and not str(endpoint).startswith("https://")

        def store(seconds: int, retries: int = 0) -> S3Store:
            client: ClientConfig = {
                "allow_http": is_plain,
                "connect_timeout": "10s",
                "read_timeout": f"{seconds}s",
                "timeout": "1h",
                # before servers close it, which may cross with a request
                "pool_idle_timeout": "10s",
                "user_agent": "simgit",
                **_authority(),
            }
            return obstore.store.S3Store(
                bucket,
                prefix=prefix or None,
                config=config,
                client_options=client,
                retry_config={"max_retries": retries},
                credential_provider=_provider(found),
            )

        try:
            self._store, self._bulk = store(60), store(600)
            self._parts = store(600, TRIES - 1)
        except (BaseError, ValueError, TypeError) as error:
            said = str(error).partition("\n")[0]
            raise InvalidInput(f"{self._place} cannot be used: {said}") from None

    def get(self, key: str, *, unless: str | None = None, most: int = base.MOST) -> Got | None:
        """Return an object; see ``Transport``."""
        options: GetOptions = {} if unless is None else {"if_none_match": _quoted(unless)}
        try:
            meta, data = self._fetch(key, options, most)
        except _Refused as refused:
            if refused.answer.status == 304:
                return None
            raise self._error(refused, key) from None
        etag = _bare(meta)
        return None if etag == unless else Got(data, etag, meta["last_modified"].timestamp())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Return bytes of an object; see ``Transport``."""
        base.check_range(start, length)
        options: GetOptions = {
            "range": {"suffix": -start} if start < 0 else (start, start + length)
        }
        try:
            return self._fetch(key, options, -start if start < 0 else length)[1]
        except _Refused as refused:
            if refused.answer.status != 416 and refused.answer.code != failures.WHOLE:
                raise self._error(refused, key) from None
            size = self.head(key).size
            if size and refused.answer.code == failures.WHOLE:
                raise self._error(refused, key) from None
        if start < 0 and not size:
            return b""
        raise base.beyond(key, start, size)

    def head(self, key: str) -> Listed:
        """Return an object without its bytes; see ``Transport``."""
        base.check_key(key)
        try:
            meta = self._send(lambda: self._obstore.head(self._store, key))
        except _Refused as refused:
            raise self._error(self._in_words(refused, key), key) from None
        return Listed(key, meta["size"], meta["last_modified"].timestamp(), _bare(meta))

    def put(self, key: str, data: bytes | BinaryIO) -> str:
        """Write an object; see ``Transport``. From 32 MiB on it is sent in parts."""
        base.check_key(key)
        file = None if isinstance(data, (bytes, bytearray, memoryview)) else data
        head = bytes(data) if file is None else file.read(MULTIPART)  # type: ignore[arg-type]
        try:
            if len(head) < MULTIPART:
                return self._put(key, head, "overwrite")
            return self._put_parts(key, head, file)
        except _Refused as refused:
            raise self._error(refused, key) from None

    def put_new(self, key: str, data: bytes) -> str:
        """Write a new object; see ``Transport``."""
        base.check_key(key)
        try:
            return self._put(key, data, "create")
        except _Refused as refused:
            if refused.answer.status in (304, 409, 412):
                raise base.taken(key, self.url) from None
            raise self._lost(refused, key) from None

    def put_if(self, key: str, data: bytes, etag: str) -> str:
        """Replace an object; see ``Transport``."""
        base.check_key(key)
        form = etag if self.conditional == "etag-unquoted" else _quoted(etag)
        try:
            return self._put(key, data, {"e_tag": form})
        except _Refused as refused:
            if refused.answer.status in (409, 412) or refused.answer.code == "NoSuchKey":
                raise base.moved(key, self.url) from None
            raise self._lost(refused, key) from None

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; see ``Transport``."""
        for batch in base.batches(keys):
            try:
                self._send(partial(self._obstore.delete, self._store, batch))
            except _Refused as refused:
                raise self._error(refused, batch[0] if len(batch) == 1 else "") from None

    def list(self, prefix: str, *, etags: bool = False) -> Iterator[Listed]:
        """Yield objects by key; see ``Transport``. Keys that simgit does not make are left out."""
        below = base.check_prefix(prefix) or None
        last, pages = None, None

        def page() -> list[ObjectMeta] | None:
            nonlocal pages
            if pages is None:
                pages = self._obstore.list(self._store, below, offset=last, chunk_size=PAGE)
            try:
                return next(pages, None)
            except BaseException:
                pages = None  # go on after the last key
                raise

        while True:
            try:
                found = self._send(page)
            except _Refused as refused:
                raise self._error(refused, "") from None
            if found is None and last is not None:
                self.counts.add(requests=-1)  # the page before said that it was the last
            for meta in found or ():
                key = meta["path"]
                if last is not None and key <= last:
                    raise TransportError(
                        f"{self._place} lists '{key}' after '{last}': a remote needs keys in order",
                        kind="unsupported",
                    )
                last = key
                if base.is_key(key):
                    etag = (_bare(meta) or self.head(key).etag) if etags else None
                    yield Listed(key, meta["size"], meta["last_modified"].timestamp(), etag)
            if found is None or len(found) < PAGE:
                return

    def _fetch(self, key: str, options: GetOptions, most: int) -> tuple[ObjectMeta, bytes]:
        """Return an object or a part of it, of which no more is read than it may have."""
        base.check_key(key)

        def fetch() -> tuple[ObjectMeta, bytes]:
            got = self._obstore.get(self._store, key, options=options)
            blocks, size = [], 0
            for block in got.stream(min_chunk_size=_BLOCK):
                blocks.append(block)
                size += len(block)
                if size > most:
                    raise base.too_large(key, self.url, most)
            return got.meta, b"".join(blocks)

        meta, data = self._send(fetch)
        self.counts.add(received=len(data))
        return meta, data

    def _in_words(self, refused: _Refused, key: str) -> _Refused:
        """Return why a HEAD was refused: its answer has no words, but that to a GET has."""
        if refused.answer.network or refused.answer.code:
            return refused
        if refused.answer.status == 404 and self._has_bucket:
            return _Refused(refused.answer._replace(code="NoSuchKey"), refused.tries)
        options: GetOptions = {"range": (0, 1)}
        try:
            self._send(lambda: self._obstore.get(self._store, key, options=options).meta)
        except _Refused as other:
            return other if other.answer.status == refused.answer.status else refused
        return refused

    def _put(self, key: str, data: bytes, mode: PutMode) -> str:
        store = self._store if len(data) <= _SMALL else self._bulk

        put = partial(self._obstore.put, store, key, data, mode=mode, use_multipart=False)
        return _bare(self._send(put, sent=len(data), once=mode != "overwrite"))

    def _put_parts(self, key: str, head: bytes, file: BinaryIO | None) -> str:
        sent = 0

        def blocks() -> Iterator[bytes | memoryview]:
            nonlocal sent
            whole = memoryview(head)
            mine: Iterator[bytes | memoryview] = (
                whole[i : i + _BLOCK] for i in range(0, len(head), _BLOCK)
            )
            for block in itertools.chain(
                mine, iter(lambda: file.read(_BLOCK) if file else b"", b"")
            ):
                sent += len(block)
                yield block

        size = max(_PART, -(-_size(head, file) // 9000))
        try:
            done = self._obstore.put(
                self._parts, key, blocks(), use_multipart=True, chunk_size=size, max_concurrency=4
            )
        except self._failures as error:
            raise _Refused(StoreAnswer.of(str(error)), TRIES) from None
        finally:
            self.counts.add(requests=-(-sent // size) + 2, sent=sent)
        # Ceph does not say it here
        return _bare(done) or str(self.head(key).etag)

    def _send(self, request: Callable[[], _T], *, sent: int = 0, once: bool = False) -> _T:
        """Make a request, again if it failed for a moment.

        Raises:
            _Refused: it failed.
        """
        for tries in itertools.count(1):
            self.counts.add(requests=1, sent=sent, retries=tries > 1)
            try:
                done = request()
            except self._failures as error:
                answer = StoreAnswer.of(str(error))
            else:
                self._has_bucket = True
                return done
            is_final = not answer.is_transient or (once and not answer.was_put_off)
            if is_final or tries == TRIES:
                raise _Refused(answer, tries)
            longest = PAUSE * (10 if answer.is_busy else 1) * 2**tries
            time.sleep(random.random() * min(5, longest))
        raise AssertionError

    def _error(self, refused: _Refused, key: str) -> SimgitError:
        return failures.error_of(
            refused.answer, key, self.url, self._place, self._region, refused.tries
        )

    def _lost(self, refused: _Refused, key: str) -> SimgitError:
        """Return the error of a write under a condition, which may have been done."""
        return failures.error_of(
            refused.answer, key, self.url, self._place, self._region, refused.tries,
            is_conditional=True,
        )  # fmt: skip


class _Refused(Exception):
    """A request that was not done, and the answer to it."""

    def __init__(self, answer: StoreAnswer, tries: int) -> None:
        super().__init__(answer.code)
        self.answer = answer
        self.tries = tries


def _checked(endpoint: str | None) -> str | None:
    """Return the address of a server, without a slash at its end.

    Raises:
        InvalidInput: it is not one, or has a user's name or password.
    """
    if endpoint is None:
        return None
    try:
        parts = urlsplit(endpoint)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        is_good = False
    if "@" in endpoint:
        raise base.no_credentials()
    if not is_good or parts.query or parts.fragment:
        raise InvalidInput(
            f"'{endpoint}' is not an endpoint: give http://host:port or https://host:port"
        )
    return endpoint.rstrip("/")


def _profile(name: str | None) -> Profile:
    """Return the profile that has the credentials, an empty one if they are elsewhere."""
    if name:
        return read_profile(name)
    if _environment("AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE"):
        return Profile()
    if other := _environment("AWS_PROFILE"):
        return read_profile(other)
    return Profile() if _environment(*_OWN_ROLES) else read_profile(None)


def _environment(*names: str) -> str | None:
    return next((found for name in names if (found := os.environ.get(name))), None)


def _provider(profile: Profile) -> Callable[[], S3Credential] | None:
    """Return what obstore asks for credentials, None if it finds them itself."""
    if profile.access_key_id is None or profile.secret_access_key is None:
        return None
    found: S3Credential = {
        "access_key_id": profile.access_key_id,
        "secret_access_key": profile.secret_access_key,
        "token": profile.token,
        "expires_at": None,
    }
    return lambda: found


def _authority() -> ClientConfig:
    """Return the certificates to trust that AWS's own tools read, if any are named."""
    if (path := _environment("AWS_CA_BUNDLE")) is None:
        return {}
    try:
        return {"root_certificate": Path(path).read_bytes()}
    except OSError as error:
        raise InvalidInput(f"cannot read AWS_CA_BUNDLE '{path}': {reason(error)}") from None


def _quoted(etag: str) -> str:
    return etag if etag.startswith("W/") else f'"{etag}"'


def _bare(meta: ObjectMeta | PutResult) -> str:
    """Return an etag without quotes: servers write them or not."""
    return (meta["e_tag"] or "").strip('"')


def _size(head: bytes, file: BinaryIO | None) -> int:
    """Return the bytes of an object whose begin was read; of a pipe, those so far."""
    if file is None or not file.seekable():
        return len(head)
    here = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(here)
    return len(head) + end - here
