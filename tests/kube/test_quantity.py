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


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("17000m", "17"),
        ("32768Mi", "32Gi"),
        ("1e9", "1e9"),
        ("15001m", "15001m"),
        ("1000", "1k"),
        ("1.5Gi", "1536Mi"),
        ("0", "0"),
        ("512", "512"),
        ("0.5Ki", "512"),
        ("12e2", "1200"),
        ("8307Mi", "8307Mi"),
        ("0.1Gi", "107374182400m"),
        ("15e8", "1500e6"),
        ("-2000m", "-2"),
        ("1e-3", "1e-3"),
        ("1024Ki", "1Mi"),
        ("1500Ki", "1500Ki"),
        ("0.0000000001", "1n"),
    ],
)
def test_the_api_servers_canonical_form(text: str, stored: str) -> None:
    assert canonical(text) == stored


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
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
    assert byte_count("1e" + "9" * 100) == 2**63 - 1
    assert byte_count("1e-" + "9" * 100) == 1
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
        assert canonical(text) == text


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
