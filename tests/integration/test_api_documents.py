"""Documents over HTTP: uploads that leave nothing behind when they fail, and everything one may read of a document."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters.bootstrap import make_api
from domain.housekeeping import sweep_blobs
from tests.api import Api, an_api
from tests.builders import (
    WORKSPACE,
    FakeEmbedder,
    Rails,
    a_failed_document,
    a_pdf,
    a_ready_document,
    an_extracting_document,
)

PDF = b"%PDF-1.7 the river"
BOUNDARY = "multipart/form-data; boundary=BB"
PART = b'--BB\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'


@pytest.fixture
def api(rails: Rails, tmp_path: Path, redis_url: str) -> Iterator[Api]:
    with an_api(rails, tmp_path, redis_url, document_max_bytes=100_000) as api:
        yield api


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


def stored(folder: Path) -> list[bytes]:
    return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


def send(api: Api, body: bytes, content_type: str = BOUNDARY, path: str = "/documents", **headers: str) -> Any:
    return api.post(path, content=body, headers={"Content-Type": content_type, **headers})


# Uploading


def test_an_upload_is_accepted_with_the_place_of_its_task(api: Api, rails: Rails, blobs: Path) -> None:
    answer = api.upload(PDF, name="river.pdf")

    receipt = answer.json()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/tasks/{receipt['task_id']}"
    assert answer.headers["Retry-After"]
    document = rails.document(UUID(receipt["document_id"]))
    assert (document["name"], document["state"], document["job_id"]) == (
        "river.pdf",
        "uploaded",
        UUID(receipt["task_id"]),
    )
    assert stored(blobs) == [PDF]
    assert rails.count("unowned_blobs") == 0


def test_the_same_bytes_again_are_the_same_document(api: Api) -> None:
    first = api.upload(PDF).json()

    again = api.upload(PDF)
    copy = api.upload(PDF, path="/documents?copy=true")

    assert (again.status_code, again.json()) == (
        200,
        {"document_id": first["document_id"], "task_id": None, "is_new": False},
    )
    assert copy.json()["document_id"] != first["document_id"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(b"GIF89a", 415, "not_a_pdf"), (b"", 415, "not_a_pdf"), (PDF + b"x" * 100_000, 413, "too_large")],
)
def test_a_file_that_is_refused_leaves_nothing(
    api: Api, rails: Rails, blobs: Path, content: bytes, status: int, code: str
) -> None:
    answer = api.upload(content)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert (stored(blobs), rails.count("documents"), rails.count("jobs")) == ([], 0, 0)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (PART + PDF, 400, "incomplete_body"),
        (PART + PDF + b"\r\n--BB", 400, "incomplete_body"),
        (b"--CC\r\n", 400, "malformed_body"),
        (b"--BB--\r\n", 422, "invalid_request"),
        (PART + PDF + b"\r\n" + PART + PDF + b"\r\n--BB--\r\n", 422, "invalid_request"),
        (b'--BB\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n--BB--\r\n', 422, "invalid_request"),
    ],
)
def test_a_body_that_is_no_upload_leaves_nothing(
    api: Api, rails: Rails, blobs: Path, body: bytes, status: int, code: str
) -> None:
    answer = send(api, body)

    assert (answer.status_code, answer.json()["code"]) in [(status, code), (400, "malformed_body")], answer.text
    assert (stored(blobs), rails.count("documents"), rails.count("jobs")) == ([], 0, 0)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.one_of(
        st.binary(max_size=2000),
        st.binary(max_size=2000).map(lambda noise: PART + b"%PDF-" + noise),
        st.integers(0, len(PART)).map(lambda kept: PART[:kept] + PDF),
    ),
    content_type=st.sampled_from(
        [BOUNDARY, "multipart/form-data", "application/pdf", "multipart/form-data; boundary="]
    ),
)
def test_noise_is_a_client_error_and_leaves_nothing(
    api: Api, rails: Rails, blobs: Path, body: bytes, content_type: str
) -> None:
    answer = send(api, body, content_type)

    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert (stored(blobs), rails.count("documents")) == ([], 0)


def test_a_compressed_body_is_refused(api: Api) -> None:
    assert send(api, b"x", **{"Content-Encoding": "gzip"}).status_code == 415


def test_a_body_that_declares_itself_too_large_is_refused_unread(api: Api) -> None:
    def never() -> Iterator[bytes]:
        yield b""
        raise AssertionError("the body was read")

    answer = api.post(
        "/documents", content=never(), headers={"Content-Type": BOUNDARY, "Content-Length": str(10 * 2**30)}
    )

    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_one_upload_too_many_waits_its_turn(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    with an_api(rails, tmp_path, redis_url, api_most_uploads=1) as api:
        api.app.state.uploads._running = 1
        answer = api.upload(PDF)
        assert (answer.status_code, answer.json()["code"]) == (503, "too_many_uploads")
        api.app.state.uploads._running = 0
        assert api.upload(PDF).status_code == 202
        assert api.app.state.uploads._running == 0


def test_a_full_backlog_refuses_uploads_of_its_workspace_alone(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    from tests.builders import a_workspace

    with an_api(rails, tmp_path, redis_url, api_backlog_documents=2) as api:
        for number in range(2):
            assert api.upload(b"%%PDF-1.7 %d" % number).status_code == 202
        answer = api.upload(PDF)
        other = api.as_workspace(rails, a_workspace(rails)).upload(PDF)

    assert (answer.status_code, answer.json()["code"]) == (503, "backlog_full")
    assert int(answer.headers["Retry-After"]) > 0
    assert other.status_code == 202


def test_a_file_name_is_text_and_nothing_else(api: Api) -> None:
    for name in ("Mühle.pdf", "../../etc/passwd", "a" * 400, 'q"uote.pdf'):
        document_id = api.upload(b"%PDF-1.7 " + name.encode(), name=name).json()["document_id"]
        answer = api.get(f"/documents/{document_id}/file")

        assert answer.status_code == 200
        assert "\n" not in answer.headers["Content-Disposition"]
        assert len(api.get(f"/documents/{document_id}").json()["name"]) <= 255


def test_each_file_of_a_batch_is_judged_by_itself(api: Api, rails: Rails, blobs: Path) -> None:
    names = [("a.pdf", PDF), ("b.gif", b"GIF89a" * 400), ("c.pdf", PDF + b" two"), ("a again.pdf", PDF)]

    answer = api.post("/documents/batch", files=[("file", each) for each in names])
    items = answer.json()["items"]

    assert answer.status_code == 202
    assert [item["name"] for item in items] == [name for name, _ in names]
    assert [item["problem"]["code"] if item["problem"] else item["receipt"]["is_new"] for item in items] == [
        True,
        "not_a_pdf",
        True,
        False,
    ]
    assert rails.count("documents") == 2
    sweep_blobs(transactions=rails.transactions, blobs=make_api(api.app.state.settings).blobs)
    assert len(stored(blobs)) == 2


# Replacing, rebuilding, deleting


def test_a_new_version_has_a_task_of_its_own(api: Api, rails: Rails) -> None:
    document_id = a_ready_document(rails, content=PDF, blob_key=f"{WORKSPACE}/old")

    same = api.upload(PDF, path=f"/documents/{document_id}/file")
    new = api.upload(PDF + b" two", path=f"/documents/{document_id}/file")

    assert (same.status_code, same.json()["is_new"]) == (200, False)
    assert (new.status_code, new.json()["is_new"]) == (202, True)
    shown = api.get(f"/documents/{document_id}").json()
    assert (shown["state"], shown["generation"], shown["target_generation"]) == ("uploaded", 1, 2)
    assert shown["task_id"] == new.json()["task_id"]
    assert shown["progress"]["percent"] == 0


def test_a_document_is_built_anew_unless_it_is_being_built(api: Api, rails: Rails) -> None:
    document_id = a_ready_document(rails, blob_key=f"{WORKSPACE}/old")

    first = api.post(f"/documents/{document_id}/reindex")
    second = api.post(f"/documents/{document_id}/reindex")

    assert (first.status_code, second.status_code) == (202, 409)
    assert first.headers["Location"] == f"/tasks/{first.json()['task_id']}"


def test_a_deleted_document_is_gone_with_its_file(api: Api, rails: Rails, blobs: Path) -> None:
    document_id = api.upload(PDF).json()["document_id"]

    assert api.delete(f"/documents/{document_id}").status_code == 204

    assert stored(blobs) == []
    for path in ("", "/chunks", "/file", "/pages/1"):
        assert api.get(f"/documents/{document_id}{path}").status_code == 404
    assert api.delete(f"/documents/{document_id}").status_code == 404
    assert api.upload(PDF, path=f"/documents/{document_id}/file").status_code == 404
    assert api.get("/documents").json()["items"] == []


# Reading


def test_a_document_tells_how_far_it_is(api: Api, rails: Rails) -> None:
    from tests.builders import a_batch

    held = an_extracting_document(rails, blob_key=f"{WORKSPACE}/x")
    with rails.transaction(held.lease) as unit:
        unit.pages.add(held.document, a_batch(["one", "two"], page_count=4))

    shown = api.get(f"/documents/{held.id}").json()

    assert shown["progress"] == {
        "percent": 25,
        "extraction": {"done": 2, "total": 4},
        "indexing": {"done": 0, "total": None},
    }


def test_a_failed_document_says_why(api: Api, rails: Rails) -> None:
    document_id = a_failed_document(rails, blob_key=f"{WORKSPACE}/x")

    shown = api.get(f"/documents/{document_id}").json()

    assert (shown["state"], shown["failure"]) == ("failed", {"code": "internal_error", "message": "It broke."})


def test_pages_and_chunks_fit_each_other(api: Api, rails: Rails) -> None:
    pages = [f"Page {number} tells of wheel {number}. " * 30 for number in range(1, 4)]
    document_id = a_ready_document(rails, pages, blob_key=f"{WORKSPACE}/x")
    texts = {n: api.get(f"/documents/{document_id}/pages/{n}").json()["text"] for n in (1, 2, 3)}

    chunks, cursor = [], ""
    while cursor is not None:
        answer = api.get(f"/documents/{document_id}/chunks?limit=2{cursor and '&cursor=' + cursor}").json()
        chunks += answer["items"]
        cursor = answer["next"]

    assert [chunk["ordinal"] for chunk in chunks] == list(range(len(chunks)))
    assert len(chunks) > 4
    for chunk in chunks:
        if chunk["page_from"] == chunk["page_to"]:
            assert texts[chunk["page_from"]][chunk["char_start"] : chunk["char_end"]] == chunk["text"]
    assert api.get(f"/documents/{document_id}/pages/4").json()["code"] == "page_not_found"


def test_a_list_is_walked_to_its_end_without_a_gap(api: Api) -> None:
    made = [api.upload(b"%%PDF-1.7 %d" % number).json()["document_id"] for number in range(7)]

    seen, cursor = [], ""
    while cursor is not None:
        answer = api.get(f"/documents?limit=3&state=uploaded{cursor and '&cursor=' + cursor}").json()
        seen += [item["id"] for item in answer["items"]]
        cursor = answer["next"]

    assert seen == made[::-1]
    first = api.get("/documents?limit=3&state=uploaded").json()["next"]
    assert api.get(f"/documents?state=failed&cursor={first}").json()["code"] == "invalid_cursor"
    assert api.get("/documents?state=ready").json() == {"items": [], "next": None}


def test_the_file_comes_back_as_it_was(api: Api) -> None:
    document_id = api.upload(PDF, name="river.pdf").json()["document_id"]

    whole = api.get(f"/documents/{document_id}/file")
    part = api.get(f"/documents/{document_id}/file", headers={"Range": "bytes=0-4"})

    assert whole.content == PDF
    assert whole.headers["Content-Type"] == "application/pdf"
    assert "river.pdf" in whole.headers["Content-Disposition"]
    assert whole.headers["ETag"] == f'"{hashlib.sha256(PDF).hexdigest()}"'
    assert (part.status_code, part.content) == (206, PDF[:5])


@pytest.mark.parametrize(
    ("wanted", "status", "code"),
    [("bytes=9999-", 416, "range_not_satisfiable"), ("lines=0-4", 400, "malformed_range")],
)
def test_a_wrong_range_is_a_problem(api: Api, wanted: str, status: int, code: str) -> None:
    document_id = api.upload(PDF).json()["document_id"]

    answer = api.get(f"/documents/{document_id}/file", headers={"Range": wanted})

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers.get("Content-Range") == (f"bytes */{len(PDF)}" if status == 416 else None)


def test_a_file_that_is_gone_is_said_to_be(api: Api, rails: Rails) -> None:
    document_id = a_ready_document(rails, blob_key=f"{WORKSPACE}/gone")

    assert api.get(f"/documents/{document_id}/file").json()["code"] == "blob_missing"


# Searching


@pytest.fixture
def searchable(api: Api, rails: Rails) -> dict[str, UUID]:
    api.app.state.runtime = replace(api.app.state.runtime, embedder=FakeEmbedder)
    texts = {"mill": "The mill grinds corn.", "boat": "The boat carries corn.", "inn": "The inn sells bread."}
    return {
        name: a_ready_document(rails, [text], content=name.encode(), blob_key=f"{WORKSPACE}/{name}")
        for name, text in texts.items()
    }


def found(api: Api, **wanted: Any) -> list[str]:
    answer = api.post("/search", json=wanted)
    assert answer.status_code == 200, answer.text
    return [hit["text"] for hit in answer.json()["hits"]]


def test_every_mode_finds_what_it_compares(api: Api, searchable: dict[str, UUID]) -> None:
    assert set(found(api, query="corn", mode="text")) == {"The mill grinds corn.", "The boat carries corn."}
    assert found(api, query="The inn sells bread.", mode="vector", limit=1) == ["The inn sells bread."]
    assert found(api, query="The mill grinds corn.", limit=1) == ["The mill grinds corn."]


def test_a_search_looks_only_where_it_is_told(api: Api, rails: Rails, searchable: dict[str, UUID]) -> None:
    rails.connection.execute("UPDATE documents SET created_at = '2020-01-01Z' WHERE id = %s", [searchable["boat"]])

    for mode in ("fused", "text", "vector"):
        only = {"query": "corn", "mode": mode, "document_ids": [str(searchable["boat"])]}
        assert found(api, **only) == ["The boat carries corn."]
        assert found(api, query="corn", mode=mode, document_ids=[]) == []
        assert found(api, query="corn", mode=mode, document_ids=[str(uuid4())]) == []
        assert found(api, query="corn", mode=mode, uploaded_to="2021-01-01T00:00:00Z") == ["The boat carries corn."]
        assert "The boat carries corn." not in found(api, query="corn", mode=mode, uploaded_from="2021-01-01T00:00:00Z")


def test_a_hit_names_its_place(api: Api, searchable: dict[str, UUID]) -> None:
    hit = api.post("/search", json={"query": "mill", "mode": "text"}).json()["hits"][0]

    assert (hit["document_id"], hit["document_name"]) == (str(searchable["mill"]), "river.pdf")
    page = api.get(f"/documents/{hit['document_id']}/pages/{hit['page_from']}").json()["text"]
    assert page[hit["char_start"] : hit["char_end"]] == hit["text"]


# At the same time


def test_the_same_bytes_at_the_same_time_are_one_document(api: Api, rails: Rails) -> None:
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: api.upload(a_pdf("same")), range(6)))

    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [202]
    assert rails.count("documents") == 1
