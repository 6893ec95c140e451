"""Pictures and files through real workers and the real sandbox."""

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from PIL import Image

from domain.media import MediaKind, parse_recipe, thumbnail_recipe
from tests.builders import WORKSPACE, a_pdf
from tests.e2e.conftest import IMPATIENT, Site
from tests.e2e.test_cli import run
from tests.e2e.test_jobs_cli import NAMES
from tests.pictures import a_photo, saved
from tests.workers import Workers, running_workers

PATIENCE = 60


@pytest.fixture(scope="module", autouse=True)
def workers(module_site: Site) -> Iterator[Workers]:
    with running_workers(module_site.environment | IMPATIENT) as workers:
        yield workers


def row(site: Site, media_id: UUID) -> dict:
    return site.rails.row("SELECT * FROM media_files WHERE id = %s", media_id)


def stored(site: Site, media_id: UUID) -> Image.Image:
    folder = site.environment["BLOB_URL"].removeprefix("file://")
    with open(f"{folder}/{row(site, media_id)['blob_key']}", "rb") as file:  # noqa: PTH123 - a key is no path of ours
        return Image.open(BytesIO(file.read()))


def test_a_photo_becomes_a_thumbnail(module_site: Site) -> None:
    media = module_site.producer.media
    uploaded = media.receive_media(WORKSPACE, "photo.jpg", [a_photo(orientation=6)])
    ordered = media.order_picture(WORKSPACE, MediaKind.THUMBNAIL, thumbnail_recipe(20, 20), media_id=uploaded.media_id)
    assert ordered is not None
    assert ordered.job_id is not None

    assert module_site.wait_for_jobs(ordered.job_id, seconds=PATIENCE) == ["succeeded"]
    assert stored(module_site, ordered.media_id).size == (10, 20)


def test_a_damaged_picture_fails_with_its_code(module_site: Site) -> None:
    media = module_site.producer.media
    cut = saved(Image.effect_noise((200, 200), 80), "JPEG")[:2000]
    uploaded = media.receive_media(WORKSPACE, "cut.jpg", [cut])
    ordered = media.order_picture(WORKSPACE, MediaKind.PROCESSED, parse_recipe({}), media_id=uploaded.media_id)
    assert ordered is not None
    assert ordered.job_id is not None

    assert module_site.wait_for_jobs(ordered.job_id, seconds=PATIENCE) == ["failed"]
    assert row(module_site, ordered.media_id)["failure_code"] == "image_damaged"


def test_files_go_where_their_content_says(module_site: Site) -> None:
    receive = module_site.producer.media.receive_file
    pdf = receive(WORKSPACE, "holiday.jpg", [a_pdf("The river turns the mill.")])
    photo = receive(WORKSPACE, "report.pdf", [a_photo()])
    archive = receive(WORKSPACE, "report.pdf", [b"PK\x03\x04" + bytes(100)])
    jobs = [each.job_id for each in (pdf, photo, archive) if each.job_id is not None]

    assert module_site.wait_for_jobs(*jobs, seconds=PATIENCE) == ["succeeded", "succeeded", "failed"]
    document_id = row(module_site, pdf.media_id)["document_id"]
    assert module_site.wait_for_documents(document_id, seconds=PATIENCE) == ["ready"]
    assert row(module_site, archive.media_id)["failure_code"] == "unsupported_type"
    module_site.wait_for_jobs(seconds=PATIENCE)
    thumbnails = "SELECT state FROM media_files WHERE source_media_id = %s AND kind = 'thumbnail'"
    assert module_site.rails.column(thumbnails, photo.media_id) == ["ready"]


def test_the_command_line_orders_pictures_and_gets_them(module_site: Site, tmp_path: Path) -> None:
    photo, book, result = tmp_path / "photo.jpg", tmp_path / "book.pdf", tmp_path / "result"
    photo.write_bytes(a_photo(orientation=6))
    book.write_bytes(a_pdf("one", "two"))
    variables = {name: module_site.environment[name] for name in NAMES}

    def media(*arguments: str) -> list[dict]:
        done = run("media", *arguments, "--json", **variables)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    added = media("add", str(photo), str(book))
    module_site.wait_for_jobs(*(UUID(each["job_id"]) for each in added), seconds=PATIENCE)
    picture, document = added[0]["media_id"], str(row(module_site, UUID(added[1]["media_id"]))["document_id"])
    orders = [
        ("thumbnail", picture, "--width", "20", "--height", "20"),
        ("thumbnail", document, "--page", "2", "--height", "100", "--format", "png"),
        ("optimize", picture, "--quality", "40"),
        ("process", picture, '[{"op": "rotate", "degrees": 90}, {"op": "grayscale"}]', "--format", "avif"),
    ]
    made = [media(*order)[0] for order in orders]
    states = module_site.wait_for_jobs(*(UUID(each["job_id"]) for each in made), seconds=PATIENCE)
    pictures = []
    for each in made:
        got = run("media", "get", each["media_id"], str(result), **variables)
        assert got.returncode == 0, got.stderr
        with Image.open(result) as image:
            pictures.append((image.format, image.size))
    missing = run("media", "thumbnail", str(uuid4()), **variables)
    nowhere = run("media", "get", picture, str(tmp_path / "none/result"), **variables)

    assert states == ["succeeded"] * 4
    assert pictures[0] == ("WEBP", (10, 20))
    assert (pictures[1][0], pictures[1][1][1]) == ("PNG", 100)
    assert pictures[2:] == [("JPEG", (32, 64)), ("AVIF", (64, 32))]
    assert (missing.returncode, "no picture that is ready" in missing.stderr) == (1, True)
    assert (nowhere.returncode, len(nowhere.stderr.splitlines())) == (1, 1)
    assert run("media", "process", picture, "nonsense", **variables).returncode != 0


def test_the_command_line_adds_and_lists(module_site: Site, tmp_path: Path) -> None:
    photo, missing = tmp_path / "photo.jpg", tmp_path / "missing"
    photo.write_bytes(a_photo())
    variables = {name: module_site.environment[name] for name in NAMES}

    added = run("media", "add", str(photo), str(missing), "--json", **variables)
    first, second = (json.loads(line) for line in added.stdout.splitlines())
    module_site.wait_for_jobs(UUID(first["job_id"]), seconds=PATIENCE)
    listed = run("media", "list", "--json", **variables)
    shown = run("media", "list", "--kind", "upload", **variables)

    assert (added.returncode, second["code"]) == (1, "no_file")
    assert first["media_id"] in listed.stdout
    assert "image/jpeg" in shown.stdout
    assert (listed.returncode, shown.returncode) == (0, 0)
