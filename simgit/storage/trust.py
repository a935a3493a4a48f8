"""The trust of this user in stores: a key, a list of trusted stores, and marks in stores made here.

The configuration directory has ``key``, 32 random bytes, and ``trusted``, one JSON object a line.
A store is recognised by a token: the keyed hash of its identity, and of inode and birth of its
directory. So neither another store in its place nor a copy elsewhere is taken for it.
Outside of the command line this module and ``worker.settings`` alone read the environment: this
one for where the configuration is.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3

from simgit.errors import InvalidInput, StorageError, reason
from simgit.storage import regular
from simgit.storage.datafile import birth_time

OWNER: Final = "owner"
"""The file of a store that holds the token of the user who made it."""
_KEY: Final = "key"
_LIST: Final = "trusted"
_KEY_SIZE: Final = 32
_TOKEN_SIZE: Final = 16


class TrustedStore(NamedTuple):
    """An entry of the list; without a token only the data of another user's store may be used."""

    directory: Path
    token: str | None
    owner: int


class TrustList:
    """The stores that this user trusts."""

    def __init__(self, config: Path | None = None) -> None:
        """Use a configuration directory, which need not exist; None for the user's own."""
        self._config = config or config_directory()

    def entries(self) -> list[TrustedStore]:
        """Return the entries of the list, oldest first.

        Lines of an earlier version, which are plain paths, are not trusted any more.

        Raises:
            InvalidInput: the file is damaged.
            StorageError: it cannot be read.
        """
        path = self._path(_LIST)
        try:
            lines = path.read_text("utf-8").splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"cannot read '{path}': {_why(error)}", path=path) from None
        try:
            found = [json.loads(line) for line in lines if line]
            return [
                TrustedStore(Path(each["directory"]), each["token"], each["owner"])
                for each in found
                if not isinstance(each, str)
            ]
        except (ValueError, TypeError, KeyError):
            raise InvalidInput(f"'{path}' must have a JSON object on each line") from None

    def has(self, directory: Path, identity: bytes) -> bool:
        """Return True if a store is trusted: made by this user, or in the list."""
        token = self._token(directory, identity)
        return token is not None and (
            _owner_token(directory) == token or any(e.token == token for e in self.entries())
        )

    def has_data(self, directory: Path) -> bool:
        """Return True if the data of a store of another user may be used."""
        place, owner = directory.resolve(), directory.stat().st_uid
        return any(e.directory == place and e.owner == owner for e in self.entries())

    def mark_own(self, directory: Path, identity: bytes) -> None:
        """Note in a new store that this user made it; without a configuration nothing is noted."""
        with suppress(OSError, StorageError):
            token = self._token(directory, identity, create=True)
            regular.replace(directory / OWNER, f"{token}\n".encode("ascii"))

    def add(self, directory: Path, identity: bytes | None) -> None:
        """Trust a store; without an identity only its data, as long as its owner is the same.

        Raises:
            StorageError: the list or the key cannot be written.
        """
        token = None if identity is None else self._token(directory, identity, create=True)
        new = TrustedStore(directory.resolve(), token, directory.stat().st_uid)
        known = [e for e in self.entries() if e.directory != new.directory]
        self._write([*known, new])

    def remove(self, directory: Path, identity: bytes) -> bool:
        """Stop trusting a store; return True if it was trusted, or its data.

        Raises:
            StorageError: the list cannot be written, or the store.
        """
        token, known = self._token(directory, identity), self.entries()
        place = directory.resolve()
        left = [e for e in known if e.directory != place and (token is None or e.token != token)]
        is_own = token is not None and _owner_token(directory) == token
        if is_own:
            try:
                (directory / OWNER).unlink()
            except OSError as error:
                what = f"cannot remove '{directory / OWNER}': {reason(error)}"
                raise StorageError(what, path=directory) from None
        if len(left) != len(known):
            self._write(left)
        return is_own or len(left) != len(known)

    def _token(self, directory: Path, identity: bytes, *, create: bool = False) -> str | None:
        """Return the token of a store, None without a key."""
        key = self._key(create)
        if key is None:
            return None
        found = directory.stat()
        born = birth_time(directory) or str(directory.resolve())
        text = f"{identity.hex()} {found.st_ino} {born}"
        return blake3(os.fsencode(text), key=key).hexdigest(_TOKEN_SIZE)

    def _key(self, create: bool) -> bytes | None:
        """Return the user's key, None if there is none or it cannot be read.

        Raises:
            InvalidInput: it is damaged.
            StorageError: it is to be created and cannot be.
        """
        if self._config is None:
            if create:
                raise StorageError("no configuration directory: set SIMGIT_CONFIG_DIR")
            return None
        path = self._config / _KEY
        try:
            if create and not path.exists():
                self._make_key(path)
            found = path.read_bytes()
        except OSError as error:
            if not create:
                return None
            raise StorageError(f"cannot use '{path}': {reason(error)}", path=path) from None
        if len(found) != _KEY_SIZE:
            raise InvalidInput(
                f"'{path}' must have {_KEY_SIZE} bytes, got {len(found)}: remove it, and trust "
                "repositories again"
            )
        return found

    def _make_key(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(_KEY_SIZE))
            try:
                os.link(scratch, path)  # of two processes one is first
            except FileExistsError:
                pass
            except OSError:  # a file system without hard links
                scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return (self._config or Path(os.devnull)) / name  # a file that does not exist

    def _write(self, entries: list[TrustedStore]) -> None:
        path = self._path(_LIST)
        lines = [
            json.dumps({**e._asdict(), "directory": str(e.directory)}, ensure_ascii=True) + "\n"
            for e in entries
        ]
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            regular.replace(path, "".join(lines).encode("ascii"))
        except OSError as error:
            raise StorageError(f"cannot write '{path}': {reason(error)}", path=path) from None


def config_directory() -> Path | None:
    """Return SIMGIT_CONFIG_DIR, or ``simgit`` in the user's config directory; None without one."""
    own = os.environ.get("SIMGIT_CONFIG_DIR")
    if own:
        return Path(own).absolute()
    base = os.environ.get("XDG_CONFIG_HOME")
    try:
        return (Path(base) if base else Path.home() / ".config") / "simgit"
    except RuntimeError:  # a user without a home, as in some containers
        return None


def check_stranger(directory: Path, owner: int) -> None:
    """Check that a repository of another user may be used although it was not named.

    Accepted are those of the user who called sudo, of owners that this machine does not know, as on
    volumes of a container, and those in the list.

    Raises:
        StorageError: it may not.
    """
    called_by = os.environ.get("SUDO_UID") if os.geteuid() == 0 else None
    name = _user_name(owner)
    if name is None or called_by == str(owner) or TrustList().has_data(directory):
        return
    raise StorageError(
        f"repository '{directory}' belongs to another user, '{name}': allow it with "
        f"'simgit trust --data', or name it with SIMGIT_DIR={directory.parent}",
        path=directory,
        owner=owner,
    )


def _user_name(uid: int) -> str | None:
    """Return the name of a user, None if this machine does not know one."""
    import pwd

    with suppress(OSError, ValueError):
        if uid == int(Path("/proc/sys/kernel/overflowuid").read_text()):
            return None
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None


def _owner_token(directory: Path) -> str | None:
    """Return the token in the owner file of a store."""
    try:
        with regular.reader(directory / OWNER) as file:
            return file.read(4 * _TOKEN_SIZE).decode("ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    except OSError:
        return None


def _why(error: Exception) -> str:
    return reason(error) if isinstance(error, OSError) else "not UTF-8"
