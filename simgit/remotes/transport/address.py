"""URLs of remotes, and the transport that one is for."""

from __future__ import annotations

import re
from urllib.parse import unquote

from simgit.errors import InvalidInput
from simgit.remotes.transport.base import Transport, check_prefix, no_credentials
from simgit.remotes.transport.directory import DirectoryTransport
from simgit.remotes.transport.memory import MemoryTransport


def open_transport(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> Transport:
    """Return the transport to a remote; no request is made yet.

    Args:
        url: ``s3://bucket/prefix``; ``file:///path`` or a path; ``memory://name``.
        endpoint: the address of a server that has S3's interface, for example
            ``https://ceph.example.org:8080``; for ``s3://`` only, as are the others.
        region: the region of the bucket.
        profile: the profile in ``~/.aws`` with the keys.

    Raises:
        InvalidInput: the URL has another form, or a user's name or password in it.
        NotFound: the package that the transport needs is not installed.
    """
    scheme, _, rest = url.partition("://") if "://" in url else ("", "", url)
    if scheme == "s3":
        bucket, _, prefix = _plain(rest, url).partition("/")
        from simgit.remotes.transport.s3 import S3Transport

        return S3Transport(
            bucket,
            check_prefix(prefix),
            endpoint=endpoint,
            region=region,
            profile=profile,
        )
    if endpoint or region or profile:
        raise InvalidInput("an endpoint, a region and a profile are for s3:// remotes only")
    if scheme == "memory":
        return MemoryTransport(_plain(rest, url))
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host not in ("", "localhost") or not slash:
            raise InvalidInput("the URL of a directory is file:///path, with three slashes")
        return DirectoryTransport(_path(f"/{unquote(path)}"))
    if scheme:
        raise InvalidInput(
            f"remotes have URLs that begin with s3:// or file://, or are paths, not {scheme}://; "
            "for a server of your own, give s3://bucket/prefix and its endpoint"
        )
    return DirectoryTransport(_path(url))


def _plain(rest: str, url: str) -> str:
    """Return what follows the scheme, if it is a name and parts of keys."""
    if "@" in rest.partition("/")[0]:
        raise no_credentials()
    name, _, prefix = rest.partition("/")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise InvalidInput(f"'{url}' has no name of a bucket: give s3://bucket/prefix")
    check_prefix(prefix)
    return rest.rstrip("/")


def _path(path: str) -> str:
    if not path or "\0" in path:
        raise InvalidInput("the path of a remote is empty, or has a null character")
    return path
