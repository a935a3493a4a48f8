"""Profiles of ``~/.aws``: static keys, the region and the endpoint; nothing else is read."""

from __future__ import annotations

import os
from configparser import ConfigParser, Error
from pathlib import Path
from typing import Final, NamedTuple

from simgit.errors import InvalidInput, NotFound, reason

_OTHER_WAYS: Final = (
    "sso_session", "sso_start_url", "sso_account_id", "role_arn", "source_profile",
    "credential_source", "credential_process", "web_identity_token_file", "login_session",
)  # fmt: skip
"""Settings of a profile that get keys in ways that only AWS's own tools know."""


class Profile(NamedTuple):
    """The settings of a profile; None for those that it has not."""

    access_key_id: str | None = None
    secret_access_key: str | None = None
    token: str | None = None
    region: str | None = None
    endpoint: str | None = None

    def __repr__(self) -> str:
        """Return all but the secrets."""
        return f"Profile(region={self.region!r}, endpoint={self.endpoint!r})"


def read_profile(name: str | None) -> Profile:
    """Return a profile of the files that ``AWS_SHARED_CREDENTIALS_FILE`` and ``AWS_CONFIG_FILE``
    name, or else of ``~/.aws/credentials`` and ``~/.aws/config``.

    Args:
        name: its name; None: ``default``, which need not be there.

    Raises:
        InvalidInput: a file has not the form of one, or the profile gets its keys in a way that
            is not read.
        NotFound: there is no such profile.
    """
    wanted = name or "default"
    section = wanted if wanted == "default" else f"profile {wanted}"
    keys = _read("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    rest = _read("AWS_CONFIG_FILE", "~/.aws/config")
    found: dict[str, str] = {}
    if section in rest:
        found |= rest[section]
    if wanted in keys:
        found |= keys[wanted]
    if name and wanted not in keys and section not in rest:
        raise NotFound(f"~/.aws has no profile '{name}'")
    if way := next((each for each in _OTHER_WAYS if each in found), None):
        raise InvalidInput(
            f"profile '{wanted}' of ~/.aws gets its keys by '{way}', which simgit does not read: "
            f'run eval "$(aws configure export-credentials --profile {wanted} --format env)" '
            "and give no profile"
        )
    if "services" in found:
        raise InvalidInput(
            f"profile '{wanted}' of ~/.aws names its services elsewhere, which simgit does not "
            "read: give the endpoint of the remote, and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    if ("aws_access_key_id" in found) != ("aws_secret_access_key" in found):
        raise InvalidInput(f"profile '{wanted}' of ~/.aws has one key without the other")
    if name and "aws_access_key_id" not in found:
        raise InvalidInput(f"profile '{wanted}' of ~/.aws has no keys")
    return Profile(
        found.get("aws_access_key_id"),
        found.get("aws_secret_access_key"),
        found.get("aws_session_token"),
        found.get("region"),
        found.get("endpoint_url"),
    )


def _read(variable: str, usual: str) -> ConfigParser:
    path = Path(os.environ.get(variable) or usual).expanduser()
    parser = ConfigParser(interpolation=None, default_section="")
    try:
        parser.read_string(path.read_text("utf-8"))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise InvalidInput(f"cannot read '{path}': {reason(error)}") from None
    except (Error, UnicodeDecodeError) as error:  # which quote a line, and it may be a secret
        line = (
            getattr(error, "lineno", None) or next(iter(getattr(error, "errors", ())), (None,))[0]
        )
        where = f", line {line}" if line else ""
        raise InvalidInput(f"'{path}'{where} is not as a file of profiles has to be") from None
    return parser
