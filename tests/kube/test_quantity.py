"""Quantities follow Kubernetes' grammar, exactly."""

import contextlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgit.errors import InvalidInput
from simgit.kube.quantity import (
    NANO,
    Quantity,
    byte_count,
    canonical,
    from_bytes,
    from_millicores,
    millicores,
    parse_quantity,
)

SUFFIXES = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "e3": Fraction(1000),
    "E-3": Fraction(1, 1000),
}


@pytest.mark.parametrize(
    ("text", "milli"),
    [
        ("100m", 100),
        ("1e3", 10**6),
        ("0.5", 500),
        (".5", 500),
        ("5.", 5000),
        ("+2", 2000),
        ("1n", 1),
        ("0.0001", 1),
        ("1E", 10**21),
        ("2u", 1),
        (2, 2000),
        (0.25, 250),
        ("-1", -1000),
    ],
)
def test_cpu_is_read_in_millicores_rounded_up(text: object, milli: int) -> None:
    assert millicores(text) == milli


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1.5Gi", 3 * 2**29),
        ("1e9", 10**9),
        ("64Mi", 2**26),
        ("100m", 1),
        ("1k", 1000),
        ("1Ei", 2**60),
        ("0.5Ki", 512),
        ("9E", 9 * 10**18),
        ("1e99", 2**63 - 1),
        ("16Ei", 2**63 - 1),
    ],
)
def test_memory_is_read_in_bytes_rounded_up_and_capped(text: object, size: int) -> None:
    assert byte_count(text) == size


STORED = {
    "zero is 0 in every form": (
        "0 00→0 0.0→0 0m→0 0Ki→0 0e3→0 -0→0 +0→0 .0→0 0.→0 0.000000000000→0 -0.0Gi→0 0E→0 0e-5→0"
    ),
    "a plain number without a thousand too many is kept": (
        "1 7 12 100 999 1001 1500 123456 17001 999999999999999999 -5 -250 1050 10 90000000000000001"
    ),
    "leading zeros and plus signs of what is kept are kept": (
        "+2 007 +0012 00100 -007 +1.5e1 +12Ki 012Ki +100m 0001.250 -012Ki 0099k"
    ),
    "a thousand too many goes to the suffix": (
        "1000→1k 17000→17k 5000000→5M 1000000000→1G 17000m→17 2000m→2 1000k→1M 5000M→5G 250000→250k "
        "10000→10k -2000m→-2 1000000u→1 3000n→1m 12000T→12P"
    ),
    "whole thousandths written with three decimals are kept": (
        "1.250 1.125 0001.001 12.345 100.100 5.999 2.010 -1.250 33.330"
    ),
    "other numbers of decimals are moved into the suffix": (
        "1.5→1500m 1.25→1250m 2.5→2500m 10.1→10100m 3.14→3140m 99.99→99990m 1.10→1100m -1.5→-1500m "
        "-0.25→-250m 12.50→12500m 8.0→8 2.00→2"
    ),
    "a number below 1 is moved into the suffix": (
        "0.5→500m .5→500m .25→250m 0.001→1m 0.100→100m 0.25→250m 0.999→999m -.5→-500m 0.050→50m "
        "+0.5→500m 00.5→500m"
    ),
    "decimals that end with a thousand too many are written anew": (
        "1.000→1 12.000→12 1.000000→1 1.250000→1250m 5.500000→5500m 3.1000→3100m"
    ),
    "finer than a thousandth is rounded up": (
        "0.1m→1m 0.0001→1m 1.0001→1001m 5.556655340828402→5557m 0.0000000001→1m 1u→1m 1n→1m 999u→1m "
        "1001u→2m 1500u→2m 1.5m→2m 100n→1m 2.0000000001→2001m 0.9999→1 1.00100001→1002m "
        "12.3456→12346m 0.1u→1m 17.00000001→17001m"
    ),
    "finer than a thousandth is rounded away from zero": (
        "-0.0001→-1m -1.0001→-1001m -1n→-1m -0.1m→-1m -5.5555→-5556m"
    ),
    "six decimals are no longer kept, since thousandths are": (
        "1.000100→1001m 1.001001→1002m 12.000001→12001m 3.100100→3101m"
    ),
    "a decimal suffix is kept where the number is": (
        "100m 250m 1500m 15001m 1k 5M 16G 999T 3P 7E 1001k 12M -3k"
    ),
    "decimals before a suffix are moved into it": (
        "1.5k→1500 2.25M→2250k 0.5G→500M 0.1k→100 1.5m→2m 2.50M→2500k .5k→500 1.1T→1100G 0.001k→1 "
        "12.5G→12500M"
    ),
    "three decimals before a suffix are kept": ("1.250k 1.500M 2.125G 12.345T"),
    "a point without decimals is kept": ("1. 5.G 12.k 1.Gi 3.m 7.e3"),
    "an exponent that is a multiple of 3 is kept": (
        "1e3 1E3 12e6 1e9 5E12 1500e3 1e-3 250e-3 1e+3 15e0 7E0 1e21 1e99 1E-3 -2e3 1e+06 1e03"
    ),
    "decimals shift the exponent that counts": (
        "1.5e1 2.25e2 1.5e4 12.5e1 1.25e5 0.5e1→5 1.5e3→1500 1.50e2"
    ),
    "another exponent goes to the multiple of 3 below": (
        "12e2→1200 1e1→10 1e2→100 15e8→1500e6 1e4→10e3 5E5→500e3 12e-1→1200e-3 1e-2→10e-3 3e10→30e9 "
        "1e100→10e99 7e1→70 -12e2→-1200"
    ),
    "a thousand too many goes to the exponent": (
        "1000e3→1e6 17000e0→17e3 5000e-3→5 2000E6→2e9 1000e-3→1 12000e9→12e12"
    ),
    "finer than a thousandth in an exponent is rounded up": (
        "1e-6→1e-3 1e-9→1e-3 15e-4→2e-3 1e-12→1e-3 1500e-6→2e-3 1e-999→1e-3 25e-5→1e-3 1e-4→1e-3"
    ),
    "a number with a binary suffix that is no multiple of 8 is kept": (
        "1Ki 12Ki 1025Ki 1500Ki 300Mi 100Gi 1Ti 8307Mi 999Mi 1023Gi 33Gi 12345Mi -1Ki 3Mi"
    ),
    "a multiple of 8 goes to the largest binary suffix": (
        "1024Ki→1Mi 32768Mi→32Gi 2048Gi→2Ti 1048576Ki→1Gi 8Ki 512Mi 1024Mi→1Gi 64Gi 16384Ki→16Mi "
        "1536Mi 8192Mi→8Gi -1024Mi→-1Gi 40960Ki→40Mi 32Gi"
    ),
    "Pi and Ei are never kept as written, but are the same": (
        "1Pi 3Pi 1Ei 7Ei 1025Pi 1024Pi→1Ei +1Pi→1Pi 01Ei→1Ei 2048Ti→2Pi"
    ),
    "too many digits for the fast path are written anew": (
        "+1234567890123456789→1234567890123456789 1000000000000000001000→1000000000000000001k "
        "0001234567890123456789→1234567890123456789 12345678901234567.123→12345678901234567123m "
        "123456789012Ki +999999999999Ki→999999999999Ki 1.12345678901234567890→1124m "
        "+1000000000000Ki→976562500Mi"
    ),
    "a binary fraction that is whole bytes takes the largest suffix": (
        "1.5Gi→1536Mi 0.5Gi→512Mi 2.5Mi→2560Ki 1.25Ki→1280 0.25Gi→256Mi 1.5Ti→1536Gi 100.5Ki→102912 "
        "0.125Mi→128Ki 2.0Gi→2Gi 1.50Mi→1536Ki -1.5Gi→-1536Mi"
    ),
    "a binary fraction of bytes is a decimal of thousandths": (
        "0.1Gi→107374182400m 0.1Ki→102400m 1.1Ki→1126400m 0.3Mi→314572800m 0.0001Gi→107374183m "
        "2.7Ki→2764800m 0.001Ki→1024m 1.1Mi→1153433600m 1.3Gi→1395864371200m"
    ),
    "less than 1024 in a binary suffix is plain": (
        "0.5Ki→512 0.25Ki→256 0.75Ki→768 0.001953125Ki→2 0.0001Ki→103m -0.5Ki→-512 0.9Ki→921600m"
    ),
    "a binary number beyond 2**63 - 1 is capped": (
        "8Ei→9223372036854775807 16Ei→9223372036854775807 100Ei→9223372036854775807 "
        "9007199254740992Ki→9223372036854775807 8192Pi→9223372036854775807 9.5Ei→9223372036854775807 "
        "-16Ei→-9223372036854775807 99999999999Gi→9223372036854775807"
    ),
    "a decimal number is not capped": (
        "9223372036854775808 10E 999E 18446744073709551616 12345678901234567890123 1e30 -10E "
        "99999999999999999999"
    ),
}
"""The rules of apimachinery's ``resource.Quantity`` at v0.35.4, rounded up to thousandths as the
API server does; what follows an arrow is how a value reads back, and others read back as written.
"""


@pytest.mark.parametrize("rule", STORED)
def test_a_quantity_reads_back_as_from_the_api_server(rule: str) -> None:
    for pair in STORED[rule].split():
        text, _, stored = pair.partition("→")
        assert canonical(text) == (stored or text), pair
        assert canonical(stored or text) == (stored or text), pair


def test_the_table_of_quantities_is_large_and_beyond_its_suffixes_exponents_take_over() -> None:
    assert sum(len(values.split()) for values in STORED.values()) >= 200
    assert canonical("1000E") == "1e21"  # 0.35.4 loses the power; later versions do this
    assert (canonical(" 1500 "), canonical(2.0), canonical(1e22)) == ("1500", "2", "10e21")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\t1",
        " ",
        "1K",
        "1ki",
        "1mi",
        "e3",
        "1e",
        "1e+",
        "--1",
        "1.2.3",
        "0x10",
        "1_000",
        "١",
        "inf",
        "nan",
        "1ee3",
        "1Gi2",
        ".",
        "m",
        "9" * 200,
        "1e" + "9" * 100,
        None,
        True,
        [],
        {},
        float("nan"),
        b"1",
    ],
)
def test_bad_quantities_are_refused_with_our_error(text: object) -> None:
    with pytest.raises(InvalidInput, match="bad quantity"):
        parse_quantity(text)


def test_huge_exponents_cost_nothing() -> None:
    assert byte_count("1e999999999") == 2**63 - 1
    assert byte_count("1e-999999999") == 1
    assert canonical("10e999999999") == "10e999999999"
    assert canonical("1e1000000000") == "10e999999999"
    assert canonical("1e-999999999") == "1e-3"
    assert byte_count("0e999999") == 0


@given(st.integers(0, 10**12), st.integers(0, 999), st.sampled_from(sorted(SUFFIXES)))
def test_parsing_is_exact_or_rounds_up(whole: int, part: int, suffix: str) -> None:
    exact = (Fraction(whole) + Fraction(part, 1000)) * SUFFIXES[suffix] * NANO
    nano = parse_quantity(f"{whole}.{part:03}{suffix}").nano
    assert 0 <= nano - exact < 1 or nano == (2**63 - 1) * NANO


@given(st.integers(-(10**30), 10**30), st.sampled_from(["binary", "decimal", "exponent"]))
def test_formatting_round_trips_the_amount(nano: int, form: str) -> None:
    capped = max(-(2**63 - 1) * NANO, min((2**63 - 1) * NANO, nano))
    text = str(Quantity(capped, form))  # type: ignore[arg-type]
    assert parse_quantity(text).nano == capped
    # As in Kubernetes: bytes without a binary suffix read back as a decimal number.
    if form != "binary" or text.endswith("i"):
        assert str(parse_quantity(text)) == text


@given(st.text(max_size=20))
def test_any_text_parses_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        parse_quantity(text)


@given(st.integers(0, 10**9), st.integers(0, 2**50))
def test_writers_are_the_readers_inverse(milli: int, size: int) -> None:
    assert millicores(from_millicores(milli)) == milli
    assert byte_count(from_bytes(size)) == size


def test_sums_keep_the_form_of_the_left_unless_it_is_zero() -> None:
    assert str(parse_quantity("1Gi") + parse_quantity("256Mi")) == "1280Mi"
    assert str(parse_quantity("0") + parse_quantity("1Gi")) == "1Gi"
    assert str(parse_quantity("17") - parse_quantity("500m")) == "16500m"
