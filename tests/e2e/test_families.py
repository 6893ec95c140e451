"""Every family of jobs shows in metrics, in `headrace jobs`, in the API's description and in the README's table."""

import json
import re
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from adapters.api.app import create_app
from adapters.bootstrap import make_webhooks
from adapters.data_jobs import make_data_desk
from adapters.mail.bootstrap import make_post_office
from adapters.postgres.jobs import named_job
from adapters.settings import Settings
from domain.jobs import DOCUMENT_PARAMS, JOBS, MAINTENANCE_QUEUE
from domain.mail import Letter, NewRecipient
from domain.media import MediaKind, parse_recipe, thumbnail_recipe
from domain.notifications import Preference
from tests.builders import WORKSPACE, a_ready_document, a_workspace
from tests.chaos.families import FAMILIES, Outside, outside_servers
from tests.chaos.site import settings_of
from tests.e2e.conftest import Site
from tests.e2e.test_cli import run
from tests.e2e.test_jobs_cli import NAMES
from tests.e2e.test_probes import Probe
from tests.pictures import a_photo
from tests.workers import ROOT, running_workers

ACTORS = frozenset(actor for actors in FAMILIES.values() for actor in actors)

#: Where callers start each family, and the words of its row in the README.
ROUTES = {
    "media": ("/tasks/media/thumbnail", "docs/media.md"),
    "mail": ("/tasks/email/bulk", "docs/mail.md"),
    "exports": ("/tasks/exports", "docs/exports.md"),
    "erasure": ("/tasks/erasures", "`headrace erase "),
    "notifications": ("/tasks/notifications", "docs/notifications.md"),
    "cache warming": ("/tasks/cache/warm", "`headrace warm`"),
    "webhooks": ("/webhooks/endpoints", "docs/webhooks.md"),
}

#: What each counts beside its jobs.
COUNTERS = {
    "headrace_pictures_total": 'kind="thumbnail"',
    "headrace_mails_total": 'result="sent"',
    "headrace_export_rows_total": 'format="jsonl"',
    "headrace_erased_rows_total": "",
    "headrace_notifications_total": 'webhook="queued"',
    "headrace_webhooks_total": 'result="delivered"',
}


@pytest.fixture
def outside() -> Iterator[Outside]:
    with outside_servers() as outside:
        yield outside


@pytest.fixture
def site(own_site: Site, outside: Outside) -> Site:
    own_site.environment |= outside.environment
    return own_site


def order_everything(site: Site, outside: Outside, document_id: UUID) -> None:
    """Put in one job of every kind, or what brings it about."""
    settings, pool, media = settings_of(site.environment), site.producer.pool, site.producer.media
    photo = media.receive_media(WORKSPACE, "photo.jpg", [a_photo()]).media_id
    media.receive_file(WORKSPACE, "who.knows", [a_photo()])
    recipes = {
        MediaKind.THUMBNAIL: thumbnail_recipe(20, 20),
        MediaKind.OPTIMIZED: parse_recipe({"never_larger": True}),
        MediaKind.PROCESSED: parse_recipe({"operations": [{"op": "flip"}]}),
    }
    for kind, recipe in recipes.items():
        assert media.order_picture(WORKSPACE, kind, recipe, media_id=photo)
    office = make_post_office(settings, pool)
    readers = [NewRecipient("anna@example.org"), NewRecipient("ben@example.org")]
    office.create_mailing(WORKSPACE, Letter("Hello", text="Hello."), readers[:1])
    office.create_mailing(WORKSPACE, Letter("Hello", text="Hello."), readers, is_bulk=True)
    make_webhooks(settings, pool).create_endpoint(WORKSPACE, outside.receiver.url, ["notification.created"])
    make_data_desk(pool).notifications.prefer(WORKSPACE, Preference("ada", webhook=True))
    words = {"user": "ada", "kind": "a.word", "title": "Word", "body": "", "about": "", "dedup_key": str(uuid4())}
    for name, params in {
        "export_workspace": {"format": "jsonl"},
        "user_notification": words,
        "warm_cache": {},
    }.items():
        site.rails.ledger.enqueue(named_job(name, {"workspace_id": WORKSPACE, **params}))
    site.rails.ledger.enqueue(named_job("erase_workspace", {"workspace_id": a_workspace(site.rails)}))
    site.wait_for_jobs(seconds=90)
    # Last, since it stops whatever else there is of the document.
    site.rails.ledger.enqueue(named_job("erase_document", {"workspace_id": WORKSPACE, "erased_id": document_id}))
    site.wait_for_jobs(seconds=30)


def test_every_family_shows_in_metrics_and_in_the_list_of_jobs(site: Site, outside: Outside, free_port: int) -> None:
    def counted(name: str, labels: str) -> bool:
        lines = Probe(free_port).get("/metrics")[1].splitlines()
        return any(line.startswith(f"{name}") and labels in line and not line.endswith(" 0.0") for line in lines)

    document_id = a_ready_document(site.rails, blob_key=f"{WORKSPACE}/river")  # before workers could take its jobs
    with running_workers(site.environment | {"METRICS_PORT": str(free_port)}, processes=1) as workers:
        order_everything(site, outside, document_id)
        for actor in ACTORS:
            labels = f'actor="{actor}",outcome="succeeded"'
            workers.wait_until(lambda labels=labels: counted("headrace_jobs_finished_total", labels))
        for name, labels in COUNTERS.items():
            workers.wait_until(lambda name=name, labels=labels: counted(name, labels))

    listed = run("jobs", "list", "--json", "--limit", "100", **{name: site.environment[name] for name in NAMES})
    jobs = {job["actor"]: job for job in json.loads(listed.stdout)}
    assert jobs.keys() >= ACTORS
    assert {jobs[actor]["state"] for actor in ACTORS} == {"succeeded"}


def test_the_families_are_all_jobs_but_those_of_documents_and_the_house() -> None:
    others = {
        spec.name
        for spec in JOBS.values()
        if spec.params is DOCUMENT_PARAMS or (spec.queue == MAINTENANCE_QUEUE and not spec.params)
    }

    assert others | ACTORS == JOBS.keys()
    assert not others & ACTORS


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_in_the_description_and_in_the_readme(family: str) -> None:
    nowhere = Settings(_env_file=None, database_url="postgresql://x@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1")  # type: ignore[call-arg]
    rows = re.findall(r"^\| .+ \|$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    route, words = ROUTES[family]

    assert "post" in create_app(nowhere).openapi()["paths"][route]
    assert any(words in row for row in rows)
