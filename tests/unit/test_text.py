"""Text is cleaned once, at the boundary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.text import clean_text


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain\ntext\twith tab", "plain\ntext\twith tab"),
        ("nul\x00 bell\x07 escape\x1b delete\x7f", "nul bell escape delete"),
        ("lone \ud800 and \udfff", "lone \ufffd and \ufffd"),
        ("dos\r\nmac\runix\nform\ffeed", "dos\nmac\nunix\nform\nfeed"),
        ("blank  \ntab\t\nend ", "blank\ntab\nend"),
        ("blank \x00\nbehind", "blank\nbehind"),
        ("cafe\u0301", "café"),
        ("e\x00\u0301", "é"),
        ("  indented\n\n\nkept", "  indented\n\n\nkept"),
        ("non\xa0breaking", "non\xa0breaking"),
        ("😀 beyond the basic plane", "😀 beyond the basic plane"),
        ("", ""),
    ],
)
def test_text_is_cleaned(raw: str, clean: str) -> None:
    assert clean_text(raw) == clean


@given(st.text(st.characters(), max_size=200))
def test_clean_text_stays_as_it_is_and_every_store_takes_it(raw: str) -> None:
    clean = clean_text(raw)

    assert clean_text(clean) == clean
    assert "\x00" not in clean
    assert clean.encode("utf-8").decode("utf-8") == clean
