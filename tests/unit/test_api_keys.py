"""API keys: random, checked for typos without a database, stored as a hash."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.api_keys import BRAND, PREFIX_CHARACTERS, Scope, digest, is_well_formed, new_secret, parse_scopes, prefix_of
from domain.errors import InvalidJobError


def test_a_new_key_is_well_formed_and_unlike_any_other() -> None:
    keys = {new_secret() for _ in range(100)}

    assert len(keys) == 100
    assert all(is_well_formed(key) and key.startswith(BRAND) for key in keys)


def test_a_key_with_one_other_character_is_none() -> None:
    key = new_secret()

    for place in range(len(key)):
        wrong = "a" if key[place] != "a" else "b"
        assert not is_well_formed(key[:place] + wrong + key[place + 1 :])


@given(st.text(max_size=80))
def test_what_nobody_made_is_no_key(text: str) -> None:
    assert not is_well_formed(text)


def test_what_is_stored_tells_nothing_of_the_rest() -> None:
    key = new_secret()

    assert digest(key) == hashlib.sha256(key.encode()).digest()
    assert len(prefix_of(key)) == PREFIX_CHARACTERS < len(key) - 30


def test_no_scope_means_all_and_an_unknown_one_is_named() -> None:
    assert parse_scopes([]) == frozenset(Scope)
    assert parse_scopes(["search"]) == {Scope.SEARCH}
    with pytest.raises(InvalidJobError, match="documents:read"):
        parse_scopes(["documents:eat"])
