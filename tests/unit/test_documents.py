"""The table of a document's states."""

from domain.documents import IN_FLIGHT, TRANSITIONS, DocumentState

S = DocumentState


def test_a_deleted_document_stays_deleted() -> None:
    assert all(S.DELETED not in sources for sources, _ in TRANSITIONS.values())


def test_every_other_state_can_be_deleted() -> None:
    assert TRANSITIONS["delete"] == (frozenset(S) - {S.DELETED}, S.DELETED)


def test_only_a_document_being_indexed_becomes_ready() -> None:
    into_ready = {verb: sources for verb, (sources, target) in TRANSITIONS.items() if target is S.READY}

    assert into_ready == {"publish": frozenset({S.INDEXING})}


def test_what_is_in_flight_is_what_can_fail() -> None:
    assert TRANSITIONS["fail"][0] == IN_FLIGHT


def test_every_state_in_flight_leads_to_ready() -> None:
    reached = {S.READY}
    for _ in S:
        reached |= {source for sources, target in TRANSITIONS.values() if target in reached for source in sources}

    assert reached >= IN_FLIGHT
