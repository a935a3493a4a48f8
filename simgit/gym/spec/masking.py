"""Masking of values that look like secrets, in the recorded command line and diff."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

MASK: Final = "***"
_NAME: Final = (
    r"[\w.-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|credential|auth)[\w.-]*"
)
_OPTION: Final = re.compile(rf"-{{1,2}}{_NAME}", re.IGNORECASE)
_ASSIGNED: Final = re.compile(
    rf"""(?P<name>['"]?\b{_NAME}['"]?\s*(?:=|:)\s*)(?P<value>'[^']*'|"[^"]*"|[^\s,;)\]}}]+)""",
    re.IGNORECASE,
)
_KNOWN: Final = re.compile(
    r"\b(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}|sk-[\w-]{16,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
_IN_URL: Final = re.compile(r"(?P<scheme>\b[\w+.-]+://[^\s/:@]*:)[^\s/@]+(?=@)")
_BEARER: Final = re.compile(r"(?P<scheme>\b(?:Bearer|Basic)\s+)[\w.~+/=-]{8,}")
_KEY_BLOCK: Final = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_LONG: Final = re.compile(r"(?<![\w+/=-])[A-Za-z0-9+/_-]{32,}={0,2}(?![\w+/=-])")
_HEX: Final = re.compile(r"[0-9a-f]{7,64}")
_RANDOM: Final = 4.2
"""Bits of entropy a character: text and paths have less, random base64 has more."""


def mask_text(text: str) -> str:
    """Return a text with what looks like a secret replaced by ``***``."""
    text = _KEY_BLOCK.sub(rf"\1{MASK}\2", text)
    text = _KNOWN.sub(MASK, text)
    text = _IN_URL.sub(rf"\g<scheme>{MASK}", text)
    text = _BEARER.sub(rf"\g<scheme>{MASK}", text)
    text = _ASSIGNED.sub(_masked_value, text)
    return _LONG.sub(lambda found: MASK if _looks_random(found[0]) else found[0], text)


def mask_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of a command with the values of secret options masked."""
    masked, hide = [], False
    for argument in arguments:
        is_option = argument.startswith("-")
        masked.append(MASK if hide and not is_option else mask_text(argument))
        hide = _OPTION.fullmatch(argument) is not None
    return masked


def _masked_value(found: re.Match[str]) -> str:
    value = found["value"]
    # code that names a secret is no secret: os.environ["TOKEN"], get_token(), None
    if re.fullmatch(r"None|True|False|null|[\w.]+[(\[].*|[\d.]+", value):
        return found[0]
    quote = value[0] if value[0] in "'\"" else ""
    return f"{found['name']}{quote}{MASK}{quote}"


def _looks_random(text: str) -> bool:
    if _HEX.fullmatch(text):  # a commit, a checksum
        return False
    counts = Counter(text).values()
    entropy = -sum(n / len(text) * math.log2(n / len(text)) for n in counts)
    return entropy > _RANDOM
