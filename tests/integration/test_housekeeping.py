"""Sweepers find what a vanished job left behind, and leave alone what is on its way."""

from datetime import timedelta

import pytest

from domain.housekeeping import sweep_documents
from tests.builders import (
    WORKSPACE,
    Rails,
    a_failed_document,
    a_ready_document,
    an_extracting_document,
    an_indexing_document,
    an_uploaded_document,
    must_claim,
)

AT_ONCE = timedelta()


def strand(rails: Rails, document_id) -> None:
    """Let the document's jobs vanish."""
    rails.connection.execute("DELETE FROM jobs WHERE document_id = %s", [document_id])


def sweep(rails: Rails, stranded_after: timedelta = AT_ONCE) -> list:
    return list(sweep_documents(transactions=rails.transactions, stranded_after=stranded_after))


@pytest.mark.parametrize(
    "build",
    [
        lambda rails: an_uploaded_document(rails)[0],
        lambda rails: an_extracting_document(rails).id,
        lambda rails: an_indexing_document(rails).id,
    ],
    ids=["uploaded", "extracting", "indexing"],
)
def test_a_document_whose_job_vanished_gets_a_new_one(rails: Rails, build) -> None:
    document_id = build(rails)
    strand(rails, document_id)

    assert sweep(rails) == [document_id]

    job_id = rails.document(document_id)["job_id"]
    claim = must_claim(rails, job_id)
    with rails.transaction(claim.lease) as unit:
        assert unit.documents.start_extraction(document_id, WORKSPACE, job_id)
    assert sweep(rails) == [], "it is on its way again"


@pytest.mark.parametrize("build", [an_uploaded_document, an_extracting_document, an_indexing_document])
def test_a_document_with_a_live_job_is_left_alone(rails: Rails, build) -> None:
    build(rails)

    assert sweep(rails) == []


@pytest.mark.parametrize("build", [a_ready_document, a_failed_document])
def test_a_document_that_has_arrived_is_left_alone(rails: Rails, build) -> None:
    strand(rails, build(rails))

    assert sweep(rails) == []


def test_a_fresh_document_is_given_time(rails: Rails) -> None:
    strand(rails, an_uploaded_document(rails)[0])

    assert sweep(rails, timedelta(minutes=1)) == []


def test_a_document_that_somebody_is_working_on_is_left_alone(rails: Rails) -> None:
    document_id, _ = an_uploaded_document(rails)
    strand(rails, document_id)

    with rails.transaction() as unit:
        assert unit.intake.delete(document_id, WORKSPACE)
        assert sweep(rails) == []
