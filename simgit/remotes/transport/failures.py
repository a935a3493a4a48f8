"""Errors that say what to do, for what an S3 store answers where it does not do what was asked."""

from __future__ import annotations

import re
from html import unescape
from typing import Final, NamedTuple

from simgit.errors import SimgitError, StorageFullError, TransportError
from simgit.remotes.transport.base import missing

_KEYS: Final = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile of the remote"
_NO_KEYS: Final = (
    "there are no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a "
    "profile of ~/.aws"
)
_DENIED: Final = {
    "InvalidAccessKeyId": f"it does not know the access key: check {_KEYS}",
    "SignatureDoesNotMatch": f"the secret key is another: check {_KEYS}",
    "ExpiredToken": "the credentials have expired: get new ones",
    "TokenRefreshRequired": "the credentials have expired: get new ones",
    "InvalidToken": "the session token is not one of this access key: check AWS_SESSION_TOKEN",
}
_RIGHTS: Final = (
    "it is not permitted to this access key, or there is none: the key needs s3:GetObject, "
    "s3:PutObject and s3:DeleteObject on the objects, and s3:ListBucket on the bucket"
)
_CLOCK: Final = ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture")
_BUSY: Final = (
    "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException",
    "TooManyRequests", "RequestLimitExceeded",
)  # fmt: skip
_REGION: Final = (
    "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException", "IncorrectEndpoint",
)  # fmt: skip
_FULL: Final = ("QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "NoSpaceLeft")
_CREDENTIALS: Final = r"://[^/ ]+/latest/(api/token|meta-data/)|//169\.254\.|//sts\."
"""Addresses that credentials are asked from."""
WHOLE: Final = "WholeObject"
"""The code of an answer with all of an object where a range of it was asked for."""
_CANNOT: Final = ("NotImplemented", "XNotImplemented", "MethodNotAllowed", WHOLE)
_NETWORK: Final = {
    "Connect": "no connection", "Request": "the connection broke", "Timeout": "no answer in time",
    "Interrupted": "the connection broke", "Decode": "its answer was cut",
    "Unknown": "the connection broke",
}  # fmt: skip
TRIES: Final = 5
"""How often a request is sent that may be repeated."""


class StoreAnswer(NamedTuple):
    """An answer that is not what was asked for."""

    status: int | None
    """The status code of HTTP; None if there was no answer."""
    code: str
    """S3's name of the error; empty if it gave none."""
    said: str
    """S3's words, or those of the network."""
    network: str
    """The kind of a failure of the network: Connect, Request, Timeout, …; empty for an answer."""
    request_id: str | None

    @classmethod
    def of(cls, text: str) -> StoreAnswer:
        """Return what the text of an error of obstore tells."""
        short, _, debug = text.partition("\n\nDebug source:")
        status = re.search(r"status code: (\d{3})", short)
        code = re.search(r"<Code>\s*([\w.]+)\s*</Code>|\(code: (\w+)\)", short)
        said = re.search(r"<Message>([^<]*)</Message>", short)
        request = re.search(r"<RequestId>([^<]+)</RequestId>", short)
        kind = re.search(r"\bkind: (Connect|Request|Timeout|Interrupted|Decode|Unknown),", debug)
        reason = re.search(r'message: "([^"]+)"|error: "([^"]+)"', debug)
        distrust = re.search(r"InvalidCertificate\((?:\s*Other\(\s*OtherError\()?\s*(\w+)", debug)
        if re.search(_CREDENTIALS, short):
            return cls(None, "NoCredentials", "", "", None)
        if "redirect without LOCATION" in short:
            return cls(301, "PermanentRedirect", "", "", None)
        if "Received non-partial response" in short:
            return cls(200, WHOLE, "it sends all of an object where a part is asked for", "", None)
        if status is None and kind is not None:
            words = _NETWORK[kind[1]] if reason is None else (reason[1] or reason[2]).lower()
            if distrust is not None:
                words = f"its certificate is refused ({distrust[1]})"
            return cls(None, "", words, kind[1], None)
        first = short.partition("\n")[0].partition("<")[0].strip().rstrip(":")
        return cls(
            None if status is None else int(status[1]),
            "" if code is None else code[1] or code[2],
            first if said is None else unescape(said[1]),
            "",
            None if request is None else request[1],
        )

    @property
    def is_transient(self) -> bool:
        """True if the same request may be answered a moment later."""
        if self.network:
            return "certificate" not in self.said
        if self.code in _CANNOT or self.status in (501, 505, 507):
            return False
        return (
            self.is_busy
            or self.status in (408, 429)
            or (self.status or 0) >= 500
            or (self.code in ("InternalError", "RequestTimeout", "OperationAborted"))
        )

    @property
    def is_busy(self) -> bool:
        """True if the store asks for fewer requests."""
        return self.code in (*_BUSY, "ServiceUnavailable") or self.status == 429

    @property
    def was_put_off(self) -> bool:
        """True if the store was too busy for the request, and has done nothing of it."""
        return self.is_busy and not self.may_be_done

    @property
    def may_be_done(self) -> bool:
        """True if the request was sent, and nothing tells what became of it."""
        if self.network:
            return self.network != "Connect"
        return (self.status or 0) >= 500 and self.code not in (*_BUSY, *_CANNOT)


def error_of(
    answer: StoreAnswer,
    key: str,
    url: str,
    place: str,
    region: str,
    tries: int = 1,
    *,
    is_conditional: bool = False,
) -> SimgitError:
    """Return the error for an answer.

    Args:
        answer: what came back.
        key: the object that was asked for; empty for a listing.
        url: the remote.
        place: the bucket and its server, for messages.
        region: the region that was named in the request.
        tries: how often it was asked.
        is_conditional: it was a write under a condition, which is not repeated: it may be done.
    """
    code, status = answer.code, answer.status
    known = f"{status} {code}".strip() if status else code
    if code == "NoSuchKey":
        return missing(key, url)
    if code in _FULL or status == 507:
        return StorageFullError(f"no space is left in {place} ({known}): make room there")
    kind, retryable = "unknown", answer.is_transient
    if code == "NoCredentials":
        kind, said = "denied", _NO_KEYS
    elif answer.network:
        kind, said = "unreachable", f"cannot reach {place}: {answer.said}; {_look_at(answer)}"
    elif code == "NoSuchBucket":
        kind = "no-bucket"
        said = f"there is no {place}: make it, or check its name and the endpoint"
    elif code in _CLOCK:
        kind = "clock"
        said = f"the clocks of this machine and of {place} differ too much: set this one"
    elif answer.is_busy:
        kind = "throttled"
        said = f"{place} is too busy ({known}): try again later"
    elif code in _REGION or status in (301, 307):
        kind = "no-bucket"
        said = f"{place} is in another region than '{region}': set the region of the remote"
    elif code in _DENIED:
        kind, said = "denied", f"{place} refuses ({known}): {_DENIED[code]}"
    elif status in (401, 403) or code == "AccessDenied":
        kind = "denied"
        what = f"object '{key}' in {place}" if key else place
        said = f"{what} is refused ({known}): {_RIGHTS}"
    elif code in _CANNOT or status == 501:
        kind = "unsupported"
        said = f"{place} cannot do what a remote needs ({known}): {answer.said}"
    elif (status or 0) >= 500:
        kind = "unreachable"
        said = f"{place} failed ({known}): try again later"
    elif status and not code:
        kind = "unsupported"
        said = f"{place} does not answer as S3 does ({known}): check the endpoint"
    else:
        said = f"{place} refuses ({known or 'no status'}): {answer.said}"
    unknown = is_conditional and answer.may_be_done
    if tries > 1:
        said += f" (tried {tries} times)"
    if unknown:
        said += f"; '{key}' may have been written or not"
    return TransportError(
        said, kind=kind, retryable=retryable, unknown=unknown, request_id=answer.request_id
    )


def _look_at(answer: StoreAnswer) -> str:
    if "UnknownIssuer" in answer.said:
        return "name the file of the authority that signed it in AWS_CA_BUNDLE"
    return "check the endpoint and the network"
