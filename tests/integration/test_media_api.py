"""Media over HTTP: uploads, orders, results, and the wall between workspaces."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain.api_keys import Scope
from domain.jobs import MEDIA_QUEUE
from domain.media_processing import make_picture
from tests.api import Api, an_api
from tests.builders import WORKSPACE, Rails, a_pdf, a_workspace, must_claim
from tests.integration.test_media import FakeMaker
from tests.pictures import corners, saved

IMAGE = saved(corners())


@pytest.fixture
def api(rails: Rails, tmp_path: Path, redis_url: str) -> Iterator[Api]:
    with an_api(rails, tmp_path, redis_url, media_max_bytes=100_000, api_backlog_documents=3) as api:
        yield api


def upload(api: Api, content: bytes = IMAGE, name: str = "river.png") -> str:
    answer = api.upload(content, name, path="/media")
    assert answer.status_code == 201, answer.text
    return str(answer.json()["media_id"])


def make(api: Api, rails: Rails, receipt: dict[str, str]) -> None:
    """Do a worker's work."""
    make_picture(
        UUID(receipt["media_id"]),
        WORKSPACE,
        lease=must_claim(rails, UUID(receipt["task_id"])).lease,
        transactions=rails.transactions,
        blobs=api.app.state.runtime.blobs,
        maker=FakeMaker(),
    )


def order(api: Api, path: str = "thumbnail", **members: Any) -> Any:
    return api.post(f"/tasks/media/{path}", json=members)


def test_an_image_goes_in_and_comes_out(api: Api) -> None:
    media_id = upload(api)

    media = api.get(f"/media/{media_id}").json()
    file = api.get(f"/media/{media_id}/file")
    assert (media["kind"], media["state"], media["name"], media["width"]) == ("upload", "ready", "river.png", None)
    assert (file.content, file.headers["content-type"]) == (IMAGE, "image/png")
    assert file.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [(a_pdf("x"), 415, "not_an_image"), (b"<html>", 415, "not_an_image"), (IMAGE + bytes(100_000), 413, "too_large")],
)
def test_what_cannot_be_taken_is_refused(api: Api, rails: Rails, content: bytes, status: int, code: str) -> None:
    answer = api.upload(content, "a.png", path="/media")

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert rails.count("media_files") == 0


@pytest.mark.parametrize(
    ("path", "members", "actor"),
    [
        ("thumbnail", {"width": 64, "height": 64, "fit": "cover", "format": "avif"}, "generate_thumbnail"),
        ("optimize", {"quality": 40}, "optimize_image"),
        ("process", {"operations": [{"op": "rotate", "degrees": 90}], "format": "png"}, "process_media"),
    ],
)
def test_an_order_is_a_task(api: Api, rails: Rails, path: str, members: dict[str, Any], actor: str) -> None:
    answer = order(api, path, media_id=upload(api), **members)

    receipt = answer.json()
    job = rails.job(UUID(receipt["task_id"]))
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/tasks/{receipt['task_id']}"
    assert (job["actor"], job["queue"], job["workspace_id"]) == (actor, MEDIA_QUEUE, WORKSPACE)
    task = api.get(f"/tasks/{receipt['task_id']}").json()
    assert (task["status"], task["media_id"]) == ("pending", receipt["media_id"])
    assert [each["media_id"] for each in api.get("/tasks").json()["items"]] == [receipt["media_id"]]
    assert api.get(f"/media/{receipt['media_id']}").json()["state"] == "pending"
    assert api.get(f"/media/{receipt['media_id']}/file").status_code == 409

    make(api, rails, receipt)
    assert api.get(f"/tasks/{receipt['task_id']}").json()["status"] == "completed"
    assert api.get(f"/media/{receipt['media_id']}/file").headers["content-type"] == "image/webp"


def test_optimizing_asks_for_nothing_larger(api: Api, rails: Rails) -> None:
    receipt = order(api, "optimize", media_id=upload(api)).json()

    recipe = rails.column("SELECT recipe FROM media_files WHERE id = %s", receipt["media_id"])[0]
    assert (recipe["never_larger"], recipe["operations"]) == (True, [])


def test_a_page_of_a_document_is_ordered(api: Api, rails: Rails) -> None:
    document_id = api.upload(a_pdf("one")).json()["document_id"]

    receipt = order(api, document_id=document_id, page=1).json()
    make(api, rails, receipt)

    (listed,) = api.get("/media", params={"source_id": document_id}).json()["items"]
    assert (listed["id"], listed["kind"], listed["name"]) == (receipt["media_id"], "thumbnail", "river.pdf")


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"media_id": str(uuid4()), "document_id": str(uuid4())},
        {"media_id": str(uuid4()), "width": 0},
        {"media_id": str(uuid4()), "format": "bmp"},
        {"media_id": str(uuid4()), "colour": "red"},
    ],
)
def test_a_wrong_order_is_refused(api: Api, members: dict[str, Any]) -> None:
    assert order(api, **members).status_code == 422


@pytest.mark.parametrize("source", ["media_id", "document_id"])
def test_an_unknown_source_is_a_404(api: Api, source: str) -> None:
    answer = order(api, **{source: str(uuid4())})

    assert (answer.status_code, answer.json()["code"]) == (404, f"{source.removesuffix('_id')}_not_found")


def test_a_repeated_order_is_one_picture(api: Api, rails: Rails) -> None:
    media_id = upload(api)
    again = {"headers": {"Idempotency-Key": "one"}}

    first = api.post("/tasks/media/thumbnail", json={"media_id": media_id}, **again)
    second = api.post("/tasks/media/thumbnail", json={"media_id": media_id}, **again)
    other = api.post("/tasks/media/thumbnail", json={"media_id": media_id, "width": 9}, **again)

    assert first.json() == second.json()
    assert other.json()["code"] == "idempotency_key_reused"
    assert rails.count("media_files") == 2


def test_a_file_of_any_type_is_taken(api: Api, rails: Rails) -> None:
    answer = api.upload(b"PK\x03\x04", "letter.pdf", path="/tasks/files/process")

    assert answer.status_code == 202
    assert rails.job(UUID(answer.json()["task_id"]))["actor"] == "process_file"


def test_uploads_may_be_larger_than_other_bodies(rails: Rails, tmp_path: Path, redis_url: str) -> None:
    with an_api(rails, tmp_path, redis_url) as api:
        image = api.upload(IMAGE + bytes(300_000), "river.png", path="/media")
        file = api.upload(b"%PDF-1.7" + bytes(300_000), "river.pdf", path="/tasks/files/process")

    assert (image.status_code, file.status_code) == (201, 202)


def test_too_much_waiting_is_refused(api: Api) -> None:
    media_id = upload(api)
    answers = [order(api, media_id=media_id) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [202, 202, 202, 503]
    assert answers[-1].json()["code"] == "backlog_full"


def test_the_list_goes_on_where_it_ended(api: Api) -> None:
    ids = [upload(api) for _ in range(3)]

    first = api.get("/media", params={"limit": 2, "kind": "upload"}).json()
    rest = api.get("/media", params={"limit": 2, "kind": "upload", "cursor": first["next"]}).json()

    assert [item["id"] for item in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next"] is None
    assert api.get("/media", params={"state": "failed"}).json()["items"] == []


def test_deleted_means_gone(api: Api, tmp_path: Path) -> None:
    media_id = upload(api)

    assert api.delete(f"/media/{media_id}").status_code == 204
    assert api.get(f"/media/{media_id}").status_code == 404
    assert [file for file in (tmp_path / "blobs").rglob("*") if file.is_file()] == []


def test_a_stranger_sees_and_changes_nothing(api: Api, rails: Rails) -> None:
    media_id = upload(api)
    stranger = api.as_workspace(rails, a_workspace(rails))

    assert stranger.get(f"/media/{media_id}").status_code == 404
    assert stranger.get(f"/media/{media_id}/file").status_code == 404
    assert stranger.delete(f"/media/{media_id}").status_code == 404
    assert stranger.get("/media").json()["items"] == []
    assert order(stranger, media_id=media_id).status_code == 404
    assert order(stranger, "optimize", media_id=media_id).status_code == 404
    assert api.get(f"/media/{media_id}").status_code == 200


def test_a_key_without_the_scope_is_refused(api: Api, rails: Rails) -> None:
    media_id = upload(api)
    reader = api.as_workspace(rails, WORKSPACE, frozenset({Scope.READ_MEDIA}))

    assert reader.get(f"/media/{media_id}").status_code == 200
    assert order(reader, media_id=media_id).status_code == 403
    assert reader.delete(f"/media/{media_id}").status_code == 403
