"""Masking of values that look like secrets, in all that a run's provenance records.

A value is masked for its name (``--api-key``, ``DB_PASS=``, ``config["token"] =``), for its form
(``ghp_…``, a key in PEM, the password in a URL), or because it looks random. What is looked for is
data: the words and forms below. Text is read once from its beginning to its end, and every look
ahead is bounded, so that the time grows with the length alone.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

MASK: Final = "***"

# --- names ----------------------------------------------------------------------------------------

_SECRET: Final = {
    "password", "passwd", "passphrase", "passwort", "pwd", "pass", "secret", "secrets", "token",
    "tokens", "apikey", "credential", "credentials", "cred", "creds", "auth", "authorization",
    "pat", "jwt", "authtoken", "signature", "sig", "cookie",
}  # fmt: skip
"""Words that make a name that of a secret if it ends with one."""
_ENDINGS: Final = ("password", "passwd", "passphrase", "secret", "apikey", "token", "accesskey")
"""Ends of longer words that do so too: PGPASSWORD, authtoken."""
_OF_KEYS: Final = {
    "api", "access", "private", "secret", "account", "auth", "encryption", "signing", "ssh",
    "master", "shared", "subscription", "storage", "service", "deploy", "license", "app",
    "client", "admin", "root", "user", "consumer", "hmac", "rsa", "aws", "azure", "gcp", "openai",
    "anthropic", "wandb", "neptune", "comet",
}  # fmt: skip
"""Words before ``key`` that make it the key to something."""
_AFTER: Final = {
    "id", "value", "str", "string", "text", "raw", "b64", "base64", "hex", "plain", "env", "prod",
    "dev", "test",
}  # fmt: skip
"""Words after the secret one that change nothing: AWS_ACCESS_KEY_ID, PASSWORD_PROD."""
_OF_TEXT: Final = {
    "eos", "bos", "pad", "unk", "cls", "sep", "mask", "special", "stop", "end", "start", "image",
    "next", "prev", "last", "first", "num", "max", "min", "total", "per", "n", "new", "input",
    "output", "prompt", "completion", "target", "source", "out", "in",
}  # fmt: skip
"""Words before ``token`` where it is a part of a text, as in language models."""
_ALONE: Final = {
    "key", "pw", "u", "user", "basic", "login",
}  # fmt: skip
"""Options whose value is a secret, or has one after a colon, though the name alone says little."""
_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_HTTP: Final = {
    "sig", "key", "code",
}  # fmt: skip
"""Parameters of a URL that are secrets."""

# --- forms ----------------------------------------------------------------------------------------

_PREFIXES: Final = (
    r"gh[pousr]_\w{20,}", r"github_pat_\w{20,}", r"gl(?:pat|dt|rt|ptt|soat|cbt)-[\w-]{16,}",
    r"hf_\w{20,}", r"api_org_\w{20,}", r"r8_\w{20,}", r"npm_\w{20,}", r"pypi-[\w-]{16,}",
    r"[srp]k_(?:live|test|prod)_\w{8,}", r"whsec_\w{16,}", r"sk-[\w-]{16,}", r"xox[a-z]-[\w-]{10,}",
    r"xapp-[\w-]{10,}", r"(?:AKIA|ASIA|ABIA|ACCA|AROA|AIDA)[0-9A-Z]{12,}", r"AIza[\w-]{30,}",
    r"ya29\.[\w-]{16,}", r"GOCSPX-[\w-]{16,}", r"SG\.[\w-]{16,}\.[\w-]{16,}", r"key-[0-9a-f]{32}",
    r"shp(?:at|ca|pa|ss)_\w{20,}", r"dapi[0-9a-f]{32}", r"do[opr]_v1_\w{20,}", r"lin_api_\w{16,}",
    r"figd_[\w-]{16,}", r"tskey-[\w-]{16,}", r"hv[sbr]\.[\w-]{16,}", r"dckr_pat_[\w-]{16,}",
    r"ATATT[\w-]{20,}", r"AGE-SECRET-KEY-1\w{20,}", r"\d{8,10}:AA[\w-]{30,}",
    r"sq0[a-z]{3}-\w{20,}",
    r"[MN][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,}", r"eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)*",
    r"NRAK-\w{20,}", r"glsa_\w{20,}", r"nvapi-[\w-]{20,}", r"gsk_\w{20,}", r"pplx-\w{20,}",
    r"local-[0-9a-f]{40}",
)  # fmt: skip
"""The forms of well-known tokens."""
_KNOWN: Final = re.compile(rf"(?<![\w-])(?:{'|'.join(_PREFIXES)})")
_HOOK: Final = re.compile(
    r"(?<=hooks\.slack\.com/)[\w/]{10,}|(?<=discord\.com/api/webhooks/)[\w/-]{10,}"
)
_URL: Final = re.compile(r"""(?<=://)(?:(?!//)[^\s"'<>]){1,512}""")
"""The beginning of a URL after its scheme."""
_SCHEME: Final = re.compile(
    r"(?<![\w-])(?P<scheme>(?:[Bb]earer|[Bb]asic)[ \t]{1,4})(?P<value>[\w.~+/=-]{8,})"
)
_NO_WORD: Final = re.compile(r"\d|[a-z][A-Z]|=$")
_BLOCK: Final = re.compile(
    r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----).*?"
    r"(-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)
_NETRC: Final = re.compile(
    r"(?P<name>\b(?:machine|login|default)\s+(?:\S+\s+){0,5}?password\s+|^[+\- ]?\s*password\s+)\S+"
    r"(?=\s*(?:$|login|account|machine|macdef|default))"
)
_SET: Final = re.compile(
    r"^(?P<name>[+\- ]?[ \t]*(?:ENV|ARG|setenv|setx)[ \t]+(?P<var>\w{1,100})[ \t]+)(?P<value>\S+)",
    re.MULTILINE,
)
"""A variable that is set without a sign: in a Dockerfile, in csh, in cmd."""
_LONG: Final = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{32,}={0,2}(?![\w+/=-])")
_HEX: Final = re.compile(r"[0-9a-f]{7,64}")
_RANDOM: Final = 4.2
"""Bits of entropy a character: text and paths have less, random base64 has more."""

# --- a name, and the value that it is given -------------------------------------------------------

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST: Final = 200
"""The most letters of a name."""
_GIVEN: Final = re.compile(
    r"""(?P<close>(?:\\{0,3}["'`])?\]?)[ \t]{0,20}"""
    r"""(?:(?P<note>:[ \t]{0,20}[A-Za-z_][\w\[\], .|]{0,60}?[ \t]{0,20}=(?!=))"""
    r"""|(?P<sign>:=|=>|\?=|\+=|[=!]=|[=:]|,(?=[ \t]{0,20}\\{0,3}["'])))"""
    r"""(?P<gap>[ \t]{0,40}(?:[(\\|>]?-?[ \t]{0,20}\r?\n[+\- ]?[ \t]{0,80})?)"""
)
"""What stands between a name and its value: the end of quotes or brackets, a type, a sign."""
_QUOTED: Final = re.compile(r'''(?P<open>[rbfuRBFU]{0,2}(?P<quote>"""|\'\'\'|\\{1,3}["']|["'`]))''')
_BARE: Final = re.compile(r"""[^\s,;)\]}"'`&<>\\]{1,512}""")
_STATEMENTS: Final = {"pass", "return", "break", "continue", "raise", "yield"}
_AUTH: Final = re.compile(
    r"(?:token|bearer|basic|digest|apikey|api-key|key|negotiate|oauth)[ \t]+", re.I
)
_CODE: Final = re.compile(
    r"(?:None|True|False|null|nil|true|false|undefined|str|int|bytes|float|bool|Any|string|object)"
    r"|[A-Za-z_][\w.]*[(\[].*|[\d.]+|(?:\d+[eE])?-?\d+|-?\d+\.\d*(?:[eE]-?\d+)?"
    r"|[a-z_][a-z_]*(?:\.[a-z_]+)+|\$[\w({].*|\$|%\(?\w+\)?s?|<[^>]*>?|\*+|x{3,}|\.{3}|@[\w./-]+"
    r"|\{+[\w.\[\]!:]*\}*",
    re.DOTALL,
)
"""Values that are no secrets: code, numbers, types, references, placeholders."""
_PATH: Final = re.compile(
    r"(?:~|\.{1,2})?/[\w.~-]+(?:/[\w.~-]+)*|[\w-]+\.(?:pem|key|json|ya?ml|txt)"
)
_PLACEHOLDER: Final = re.compile(
    r"\$\{?\w+\}?|<[^>]*>|\*+|\{\{?[\w. ]*\}?\}|%\(\w+\)s|\.{3}|-{1,2}\w[\w-]*"
)
_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_PASSWORDS: Final = {
    "password", "passwd", "passphrase", "passwort", "pwd", "pass", "secret", "pin", "pw",
}  # fmt: skip
"""Names whose value is a secret even if it is a number."""


def mask_text(text: str) -> str:
    """Return a text with what looks like a secret replaced by ``***``."""
    text = _BLOCK.sub(rf"\1{MASK}\2", text)
    text = _given(text)
    text = _SET.sub(
        lambda found: found["name"] + MASK if is_secret(found["var"]) else found[0], text
    )
    text = _KNOWN.sub(MASK, text)
    text = _HOOK.sub(MASK, text)
    text = _URL.sub(_masked_url, text)
    text = _SCHEME.sub(_masked_scheme, text)
    text = "\n".join([_NETRC.sub(rf"\g<name>{MASK}", line) if "password" in line else line
                      for line in text.split("\n")])  # fmt: skip
    return _LONG.sub(_masked_long, text)


def mask_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with the values of secret options masked."""
    masked: list[str] = []
    option = ""
    for argument in arguments:
        is_option = argument.startswith("-") and not _NUMBER.fullmatch(argument)
        name, sign, value = argument.partition("=")
        if option and not is_option:
            masked.append(_masked_option(option, argument))
        elif sign and _NAME.fullmatch(name.lstrip("-+~")) and is_secret(name, is_option=True):
            masked.append(f"{name}={_masked_option(name, value)}")
        else:
            masked.append(mask_text(argument))
        option = argument if is_option and not sign and is_secret(argument, is_option=True) else ""
    return masked


def mask_values(value: Any, name: str = "") -> Any:
    """Return nested facts with what looks like a secret masked, by its name or by its form."""
    if isinstance(value, Mapping):
        return {key: mask_values(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if all(isinstance(item, str) for item in value) and not is_secret(name):
            return mask_arguments(value)
        return [mask_values(item, name) for item in value]
    if not isinstance(value, str):
        return value
    is_known = is_secret(name) and not _is_code(value, name)
    return MASK if is_known else mask_arguments([value])[0]


def is_secret(name: str, *, is_option: bool = False) -> bool:
    """Return True if a name is that of a secret; an option's name may say less."""
    words = [word.lower() for word in _WORDS.findall(name[-_LONGEST:])]
    while len(words) > 1 and (words[-1].isdecimal() or words[-1] in _AFTER):
        words.pop()
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in ("token", "tokens") and before in _OF_TEXT:
        return False
    if last in ("key", "keys"):
        return before in _OF_KEYS or (is_option and len(words) == 1 and last in _ALONE)
    if is_option and len(words) == 1 and last in _ALONE:
        return True
    return last in _SECRET or last.endswith(_ENDINGS)


def _masked_option(option: str, value: str) -> str:
    """Return the value of a secret option, masked; of ``user:SECRET`` the user is kept."""
    words = _WORDS.findall(option)
    user, colon, rest = value.partition(":")
    if words[-1].lower() in ("u", "user", "basic", "login"):
        is_pair = colon and rest and not rest.startswith("//") and not _NUMBER.fullmatch(rest)
        return f"{user}:{MASK}" if is_pair else mask_text(value)
    return mask_text(value) if _is_code(value, option, is_option=True) else MASK


def _given(text: str) -> str:
    """Return a text with the values masked that are given to names of secrets."""
    parts: list[str] = []
    done = at = 0
    while (found := _NAME.search(text, at)) is not None:
        at = found.end()
        name = found[0].rstrip(".-")
        sign = _GIVEN.match(text, found.start() + len(name)) if len(name) <= _LONGEST else None
        if sign is None:
            continue
        in_url = text[max(0, found.start() - 1) : found.start()] in ("?", "&")
        if not is_secret(name) and not (in_url and name.lower() in _HTTP):
            continue
        needs_quotes = sign["sign"] in (",", "==", "!=")
        before = text[max(0, found.start() - 8) : found.start()].rstrip("-\\\"'`")
        if sign["sign"] == "," and not (sign["close"] and before.endswith("(")):
            continue
        value = _value(text, sign.end(), name, "\n" in sign["gap"], needs_quotes)
        if value is not None:
            start, at = value
            parts += [text[done:start], MASK]
            done = at
    return "".join([*parts, text[done:]])


def _value(text: str, at: int, name: str, below: bool, quoted: bool) -> tuple[int, int] | None:
    """Return where the secret of a value begins and ends, None if it is no secret."""
    opened = _QUOTED.match(text, at)
    if opened is not None:
        start, quote = opened.end(), opened["quote"]
        end = _closing(text, start, quote)
        if scheme := _AUTH.match(text, start, end):
            start = scheme.end()
        inner = text[start:end]
        is_template = "f" in opened["open"].lower() and re.fullmatch(r"\{[^{}]*\}", inner)
        return None if not inner or is_template or _is_code(inner, name, True) else (start, end)
    if quoted:
        return None
    if scheme := _AUTH.match(text, at):
        at = scheme.end()
    bare = _BARE.match(text, at)
    if bare is None or _is_code(bare[0], name):
        return None
    end = bare.end()
    if below:  # alone on the next line: else that is a nested map, or the next statement
        rest = text[end : end + 1]
        is_other = bare[0].endswith(":") or bare[0][0] in "-#" or bare[0] in _STATEMENTS
        if is_other or rest not in "\r\n":
            return None
    while (more := _BARE.match(text, end)) is not None:
        end = more.end()
    return at, end


def _closing(text: str, start: int, quote: str) -> int:
    """Return the end of a quoted text; where it is not closed, the end of the line."""
    if len(quote) == 3 and quote[0] == quote[2]:
        end = text.find(quote, start)
        return len(text) if end < 0 else end
    line = text.find("\n", start)
    line = len(text) if line < 0 else line
    at = start
    while (at := text.find(quote, at, line)) >= 0:
        before = at
        while before > start and text[before - 1] == "\\":
            before -= 1
        if (at - before) % 2 == 0:
            return at
        at += 1
    return line


def _is_code(value: str, name: str, is_quoted: bool = False, *, is_option: bool = False) -> bool:
    """Return True for a value that stands for a secret, or for something else: code, a path."""
    if _NUMBER.fullmatch(value) and not (is_option or is_quoted):
        return True
    words = [word.lower() for word in _WORDS.findall(name)]
    if _NUMBER.fullmatch(value):
        return not (_PASSWORDS & set(words)) and len(value) < 5
    if _PATH.fullmatch(value) and not _looks_random(value) and not _PASSWORDS & set(words):
        return True
    if is_option or is_quoted:  # text; what stands for another value is no secret
        return _PLACEHOLDER.fullmatch(value) is not None
    return _CODE.fullmatch(value) is not None


def _masked_url(found: re.Match[str]) -> str:
    """Return the beginning of a URL with its password masked, and its user if that is a token."""
    text = found[0]
    part = authority = re.split("[/?#]", text, maxsplit=1)[0]
    if "@" not in authority:
        _, colon, port = authority.partition(":")
        if not colon or port.isdecimal() or "@" not in text:
            return text  # else the password has a slash in it
        part = text
    given, _, rest = part.rpartition("@")
    user, colon, password = given.partition(":")
    is_token = len(user) >= 20 or (len(user) >= 12 and any(c.isdigit() for c in user))
    kept = MASK if is_token else user
    return f"{kept}{colon}{MASK if password else ''}@{rest}{text[len(part) :]}"


def _masked_scheme(found: re.Match[str]) -> str:
    return f"{found['scheme']}{MASK}" if _NO_WORD.search(found["value"]) else found[0]


_OF_PATH: Final = re.compile(r"[A-Za-z]?[a-z]{2,}(?:[-_]?[a-z0-9]+)*")


def _masked_long(found: re.Match[str]) -> str:
    """Return a long word masked if it looks random; of a path its names, each by itself."""
    text = found[0]
    names = text.split("/")
    if names[1:] and (not names[0] or any(map(_OF_PATH.fullmatch, names))):
        return "/".join(
            MASK if _LONG.fullmatch(name) and _looks_random(name) else name for name in names
        )
    return MASK if _looks_random(text) else text


def _looks_random(text: str) -> bool:
    if _HEX.fullmatch(text):  # a commit, a checksum
        return False
    counts = Counter(text).values()
    entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in counts)
    return entropy > _RANDOM
