"""Ids are UUIDs of version 7: in the order of time, and never the same twice."""

import time
from uuid import RFC_4122

from domain.ids import new_id


def test_an_id_is_a_uuid_of_version_7_that_tells_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    found = new_id()
    after = time.time_ns() // 1_000_000

    assert (found.version, found.variant) == (7, RFC_4122)
    assert before <= found.int >> 80 <= after


def test_later_ids_are_greater() -> None:
    first = new_id()
    time.sleep(0.002)  # the order within a millisecond is random

    assert first < new_id()


def test_ids_of_one_moment_differ_in_every_random_bit() -> None:
    ids = [new_id().int for _ in range(2_000)]
    ones = [sum(each >> bit & 1 for each in ids) for bit in range(76)]

    assert len(set(ids)) == len(ids)
    assert [bit for bit, count in enumerate(ones) if count in (0, len(ids))] == [62, 63]  # the variant
