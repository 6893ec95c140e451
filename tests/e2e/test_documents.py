"""A file in, searchable chunks out, through real workers and a real embeddings server."""

from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.builders import a_pdf, a_workspace
from tests.e2e.conftest import IMPATIENT, Site
from tests.embeddings_server import EmbeddingsServer, Fault
from tests.workers import Workers, running_workers

INPUTS, TOKENS = 8, 1200


@pytest.fixture(scope="module")
def running_server() -> Iterator[EmbeddingsServer]:
    with EmbeddingsServer(dimensions=16) as server:
        yield server


@pytest.fixture
def server(running_server: EmbeddingsServer) -> EmbeddingsServer:
    running_server.behave()
    running_server.requests.clear()
    running_server.seconds_per_request = 0
    return running_server


@pytest.fixture(scope="module", autouse=True)
def workers(module_site: Site, running_server: EmbeddingsServer) -> Iterator[Workers]:
    environment = {
        "EMBEDDING_PROVIDER": "openai",
        "OPENAI_BASE_URL": running_server.url,
        "OPENAI_API_KEY": "sk-test",
        "EMBEDDING_MODEL": "fake",
        "EMBEDDING_DIMENSIONS": "16",
        "EMBEDDING_INPUTS_PER_REQUEST": str(INPUTS),
        "EMBEDDING_REQUESTS_AT_A_TIME": "1",
        "EMBEDDING_TOKENS_PER_REQUEST": str(TOKENS),
        "CHUNK_TOKENS": "64",
        "CHUNK_OVERLAP_TOKENS": "0",
    }
    with running_workers(module_site.environment | IMPATIENT | environment) as workers:
        yield workers


def a_report(title: str, *, pages: int = 6) -> bytes:
    """A PDF whose every passage is unlike any other."""
    lines = [[f"{title}, page {page}, line {line}: the river turns wheel {page * 50 + line}." for line in range(20)]
             for page in range(pages)]  # fmt: skip
    return a_pdf(*("\n".join(page) for page in lines))


def sent_texts(server: EmbeddingsServer) -> list[str]:
    return [text for request in server.requests for text in request.texts]


def job_of(site: Site, document_id: UUID, actor: str) -> dict:
    return site.rails.row("SELECT * FROM jobs WHERE document_id = %s AND actor = %s", document_id, actor)


def test_a_document_becomes_ready_with_a_vector_for_every_chunk(site: Site, server: EmbeddingsServer) -> None:
    receipt = site.upload(a_report("Ready"))

    assert site.wait_for_documents(receipt.document_id) == ["ready"]

    row = site.rails.document(receipt.document_id)
    assert (row["page_count"], row["pages_done"], row["generation"]) == (6, 6, 1)
    assert row["chunk_count"] == row["chunks_done"] == len(sent_texts(server)) > INPUTS
    assert row["tokens_embedded"] == sum(request.tokens for request in server.requests)
    site.wait_for_jobs()
    assert site.rails.count("token_reservations") == 0


def test_requests_keep_the_limits(site: Site, server: EmbeddingsServer) -> None:
    site.wait_for_documents(site.upload(a_report("Limits")).document_id)

    assert len(server.requests) > 1
    assert max(request.inputs for request in server.requests) <= INPUTS
    assert max(request.tokens for request in server.requests) <= TOKENS


def test_the_same_file_twice_is_one_document_and_costs_nothing(site: Site, server: EmbeddingsServer) -> None:
    content = a_report("Twice")
    first = site.upload(content)
    site.wait_for_documents(first.document_id)
    server.requests.clear()

    again = site.upload(content, name="another name.pdf")

    assert (again.document_id, again.is_new, again.job_id) == (first.document_id, False, None)
    assert server.requests == []


def test_a_second_document_with_the_same_text_costs_nothing(site: Site, server: EmbeddingsServer) -> None:
    content = a_report("Same")
    site.wait_for_documents(site.upload(content).document_id)
    server.requests.clear()

    copy = site.upload(content + b"\n% another file")

    assert copy.is_new
    assert site.wait_for_documents(copy.document_id) == ["ready"]
    assert server.requests == []
    assert site.rails.document(copy.document_id)["tokens_embedded"] == 0


def test_a_provider_that_asks_to_wait_costs_no_attempt_and_nothing_twice(site: Site, server: EmbeddingsServer) -> None:
    server.misbehave(Fault.RATE_LIMITED, times=2, retry_after="0.3")

    receipt = site.upload(a_report("Wait"))

    assert site.wait_for_documents(receipt.document_id) == ["ready"]
    site.wait_for_jobs()
    jobs = [job_of(site, receipt.document_id, actor) for actor in ("extract_document", "index_document")]
    assert [site.rails.attempts(job["id"]) for job in jobs] == [["parked", "succeeded"]] * 2
    assert [job["attempt"] for job in jobs] == [1, 1]
    answered = [text for request in server.requests[2:] for text in request.texts]
    assert len(answered) == len(set(answered)) == site.rails.document(receipt.document_id)["chunk_count"]


def test_a_resumed_document_pays_for_no_batch_twice(site: Site, server: EmbeddingsServer) -> None:
    server.seconds_per_request = 0.1
    receipt = site.upload(a_report("Resume"))
    site.wait_until(lambda: len(server.requests) >= 2, 20)
    server.misbehave(Fault.BROKEN)

    assert site.wait_for_documents(receipt.document_id) == ["ready"]

    paid = site.rails.document(receipt.document_id)["tokens_embedded"]
    assert paid == sum(len(text.encode()) + 3 >> 2 for text in set(sent_texts(server)))
    assert len(sent_texts(server)) - len(set(sent_texts(server))) <= INPUTS, "only the broken request was repeated"


def test_usage_is_exact(site: Site, server: EmbeddingsServer) -> None:
    workspace_id = a_workspace(site.rails, budget=1_000_000)

    receipt = site.upload(a_report("Usage"), workspace_id=workspace_id)
    site.wait_for_documents(receipt.document_id)

    usage = site.rails.row("SELECT * FROM workspace_daily_usage WHERE workspace_id = %s", workspace_id)
    assert usage["tokens"] == sum(request.tokens for request in server.requests)
    assert (usage["pages"], usage["documents"]) == (6, 1)


def test_a_used_up_budget_parks_the_document(site: Site, server: EmbeddingsServer) -> None:
    workspace_id = a_workspace(site.rails, budget=5_000)
    site.rails.connection.execute(
        "INSERT INTO workspace_daily_usage (workspace_id, day, tokens)"
        " VALUES (%s, (now() AT TIME ZONE 'utc')::date, 4999)",
        [workspace_id],
    )

    receipt = site.upload(a_report("Parked"), workspace_id=workspace_id)
    query = "SELECT count(*) FROM jobs WHERE document_id = %s AND state = 'retrying'"
    site.wait_until(lambda: site.rails.column(query, receipt.document_id) == [1], 20)

    job = job_of(site, receipt.document_id, "index_document")
    assert (site.rails.attempts(job["id"]), job["attempt"]) == (["parked"], 0)
    assert (server.requests, site.rails.document(receipt.document_id)["state"]) == ([], "indexing")

    site.rails.connection.execute("UPDATE workspaces SET daily_token_budget = NULL WHERE id = %s", [workspace_id])
    site.rails.make_due()
    site.rails.connection.execute("SELECT pg_notify('headrace_jobs', '')")
    assert site.wait_for_documents(receipt.document_id) == ["ready"]


def test_a_document_beyond_every_budget_fails_with_a_sentence(site: Site, server: EmbeddingsServer) -> None:
    receipt = site.upload(a_report("Beyond"), workspace_id=a_workspace(site.rails, budget=10))

    assert site.wait_for_documents(receipt.document_id) == ["failed"]

    row = site.rails.document(receipt.document_id)
    assert row["failure_code"] == "budget_exceeded"
    assert "daily budget of 10" in row["failure_message"]
    assert server.requests == []


@pytest.mark.parametrize(
    ("content", "code", "advice"),
    [
        (a_pdf("", ""), "pdf_no_text", "OCR"),
        (b"%PDF-1.4\nnothing else", "pdf_damaged|pdf_no_pages|not_a_pdf", "."),
    ],
    ids=["no text", "no pages"],
)
def test_a_file_that_cannot_be_read_fails_with_a_sentence(site: Site, content: bytes, code: str, advice: str) -> None:
    receipt = site.upload(content)

    assert site.wait_for_documents(receipt.document_id) == ["failed"]

    row = site.rails.document(receipt.document_id)
    assert row["failure_code"] in code.split("|")
    assert advice in row["failure_message"]
    job = site.rails.job(receipt.job_id)
    assert (job["state"], job["failure_code"], job["attempt"]) == ("failed", row["failure_code"], 1)


def test_a_rejected_text_fails_with_the_providers_words(site: Site, server: EmbeddingsServer) -> None:
    server.misbehave(Fault.REJECTED)

    receipt = site.upload(a_report("Rejected"))

    assert site.wait_for_documents(receipt.document_id) == ["failed"]
    row = site.rails.document(receipt.document_id)
    assert row["failure_code"] == "embedding_rejected"
    assert "maximum context length" in row["failure_message"]


def test_a_failed_document_starts_over_with_a_second_upload(site: Site, server: EmbeddingsServer) -> None:
    content = a_report("Again")
    server.misbehave(Fault.REJECTED)
    first = site.upload(content)
    assert site.wait_for_documents(first.document_id) == ["failed"]

    again = site.upload(content)

    assert again.document_id == first.document_id
    assert site.wait_for_documents(first.document_id) == ["ready"]


def test_a_document_deleted_on_its_way_leaves_nothing(site: Site, server: EmbeddingsServer) -> None:
    server.seconds_per_request = 0.3
    receipt = site.upload(a_report("Deleted"))
    site.wait_until(lambda: len(server.requests) >= 2, 20)

    assert site.producer.delete_document(receipt.document_id, site.rails.document(receipt.document_id)["workspace_id"])

    job_id = job_of(site, receipt.document_id, "extract_document")["id"]
    assert site.wait_for_jobs(job_id) == ["cancelled"]
    tables = ("document_pages", "chunks")
    left = [
        site.rails.column(f"SELECT count(*) FROM {table} WHERE document_id = %s", receipt.document_id)
        for table in tables
    ]
    assert left == [[0], [0]]
    lonely = (
        "SELECT count(*) FROM chunk_embeddings e WHERE NOT EXISTS"
        " (SELECT FROM chunks c WHERE c.workspace_id = e.workspace_id AND c.text_hash = e.text_hash)"
    )
    assert site.rails.column(lonely) == [0]
    assert site.rails.document(receipt.document_id)["state"] == "deleted"
    assert site.rails.count("token_reservations") == 0
