import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.text import flatten
from edgeprune.report.cells import MISSING, ending, number, part_interval, plain, word


def test_a_missing_number_is_a_dash_with_its_reason_and_never_zero() -> None:
    cell = number(None, 2, "the device was not there")
    assert (cell.text, cell.why) == (MISSING, "the device was not there")
    assert number(0.0, 2).text == "0.00"


@given(st.floats(-1e6, 1e6, allow_nan=False), st.integers(0, 4))
def test_a_shown_number_reads_back_within_its_decimals(value: float, digits: int) -> None:
    text = number(value, digits).text
    assert abs(float(text.replace(",", "").replace("\N{MINUS SIGN}", "-")) - value) <= 0.5001 * 10**-digits
    assert text.strip("\N{MINUS SIGN}0.") or not text.startswith("\N{MINUS SIGN}"), "minus nothing is nothing"


@given(st.text())
def test_a_name_is_shown_on_one_line_without_control_characters(name: str) -> None:
    assert plain(name).isprintable()
    assert word(name, "nameless").text == (plain(name) or MISSING)


def test_nested_facts_become_dotted_keys() -> None:
    facts = {"cpu": {"cores": 2, "flags": ["avx2", "vnni"]}, "governor": None, "cgroup": [{"max": 1}]}
    assert flatten(facts) == [
        ("cpu.cores", "2"),
        ("cpu.flags", "avx2, vnni"),
        ("governor", ""),
        ("cgroup", '[{"max": 1}]'),
    ]


def test_a_long_name_keeps_its_end_from_a_separator_on() -> None:
    assert ending("/model.0/conv", 26) == "/model.0/conv"
    assert ending("Multiply_1/fq_weights_1/Conv_acdb/model.22/Reshape", 26) == "…/model.22/Reshape"
    assert ending(60 * "W", 10) == "…" + 9 * "W"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("0.0038 [\N{MINUS SIGN}0.004, 0.012]", ("0.0038", "[\N{MINUS SIGN}0.004, 0.012]")),
        ("3.33 (3.27\N{EN DASH}3.40)", ("3.33", "(3.27\N{EN DASH}3.40)")),
        ("\N{GREATER-THAN OR EQUAL TO} 1.36", ("\N{GREATER-THAN OR EQUAL TO} 1.36", "")),
        ("pruned int8 (best)", ("pruned int8 (best)", "")),
        ("", ("", "")),
    ],
)
def test_an_interval_is_parted_from_its_number(text: str, parts: tuple[str, str]) -> None:
    assert part_interval(text) == parts
