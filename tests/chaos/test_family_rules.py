"""Every rule about the families can fail: each is shown a world in which its promise is broken."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.builders import WORKSPACE
from tests.chaos.documents import make_documents
from tests.chaos.families import MAILED_USER, Load, outside_servers
from tests.chaos.family_invariants import judge_families
from tests.chaos.fault import start_as_usual
from tests.chaos.invariants import blobs_belong_to_somebody
from tests.chaos.plan import FULL
from tests.chaos.report import Result
from tests.chaos.site import Site, a_site

pytestmark = pytest.mark.timeout(300)

#: On a machine that is busy with other things a worker may lose a lease or two.
MORE_THAN_LEASES_ARE_LOST = 50


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A world in which nothing was hurt."""
    uploads = make_documents(6)
    with ExitStack() as stack:
        outside = stack.enter_context(outside_servers())
        site = stack.enter_context(a_site(FULL, uploads, extra=outside.environment, proxied=None))
        site.load = Load(site, outside)
        start_as_usual(site)
        site.upload(uploads)
        for _ in range(2):  # an export of each format
            site.load.order()
        site.wait_until_quiet()
        site.stop()
        yield site


def findings(site: Site) -> set[str]:
    assert site.load
    found = judge_families(site, site.load)
    return {*found.lost, *found.doubled, *blobs_belong_to_somebody(site, Result("", 0))}


def test_an_unhurt_world_breaks_no_rule(site: Site) -> None:
    assert findings(site) == set()


def execute(statement: str) -> Callable[[Site], None]:
    def change(site: Site) -> None:
        with site.connected() as connection:
            assert connection.execute(statement).rowcount > 0

    return change


def stored(site: Site, source: str) -> Path:
    return site.blob_folder / site.value(f"SELECT blob_key FROM {source} LIMIT 1")


def cut_a_picture(site: Site) -> None:
    path = stored(site, f"media_files WHERE kind = 'thumbnail' AND workspace_id = '{WORKSPACE}'")
    path.write_bytes(path.read_bytes()[:-1])


def lose_a_part(site: Site) -> None:
    stored(site, "export_parts").unlink()


def leave_a_blob(site: Site) -> None:
    (site.blob_folder / str(WORKSPACE) / "stray").write_bytes(b"nobody's")


def leave_an_erased_blob(site: Site) -> None:
    assert site.load
    erased = next(each for each in site.load.erasures.values() if each.document_id is None)
    (site.blob_folder / str(erased.seed.workspace_id)).mkdir(exist_ok=True)
    (site.blob_folder / str(erased.seed.workspace_id) / "stray").write_bytes(b"erased")


def take_a_mail_twice(site: Site) -> None:
    assert site.load
    site.load.outside.mailbox.envelopes += site.load.outside.mailbox.envelopes[:1] * MORE_THAN_LEASES_ARE_LOST


def drop_a_mail(site: Site) -> None:
    assert site.load
    del site.load.outside.mailbox.envelopes[1]


def hear_a_webhook_twice(site: Site) -> None:
    assert site.load
    site.load.outside.receiver.requests += site.load.outside.receiver.requests[:1] * MORE_THAN_LEASES_ARE_LOST


def must_meet_nobody(site: Site) -> None:
    site.must_meet = frozenset({"media"})


def log_again(event: str) -> Callable[[Site], None]:
    columns = "job_id, workspace_id, event, data"
    return execute(
        f"INSERT INTO job_events ({columns}) SELECT {columns} FROM job_events WHERE event = '{event}' LIMIT 1"
    )


ONE_OF_THE_WORKSPACE = f"WHERE id = (SELECT id FROM {{}} WHERE workspace_id = '{WORKSPACE}' LIMIT 1)"

#: What is done to the world, and how the rule that has to see it says so. In this order: nothing is mended in between.
BREAKAGES = {
    "is failed (internal_error), not": execute(
        "UPDATE jobs SET state = 'failed', failure_code = 'internal_error'"
        " WHERE id = (SELECT id FROM jobs WHERE actor = 'warm_cache' LIMIT 1)"
    ),
    "jobs are gone": execute("DELETE FROM jobs WHERE id = (SELECT id FROM jobs WHERE actor = 'warm_cache' LIMIT 1)"),
    "is not the one that was noted": cut_a_picture,
    "pictures were not made": execute(
        "DELETE FROM media_files WHERE id ="
        " (SELECT id FROM media_files WHERE kind = 'processed' AND state = 'ready' LIMIT 1)"
    ),
    "has (": execute("UPDATE media_files SET width = 1 WHERE kind = 'optimized'"),
    "blobs belong to nobody": leave_a_blob,
    "blobs that somebody needs will be swept": execute(
        "INSERT INTO unowned_blobs SELECT blob_key, now() FROM media_files WHERE blob_key IS NOT NULL LIMIT 1"
    ),
    "a part of export": lose_a_part,
    "blobs are gone": lambda _: None,
    "documents, the database 15, or others": execute("UPDATE documents SET name = 'another' WHERE name LIKE 'seed %'"),
    "an export's parts overlap": execute("UPDATE export_parts SET number = 7 WHERE kind = 'pages'"),
    "tells of 1 changed documents": execute("UPDATE exports SET changed_documents = 1"),
    "of an erased workspace are left": leave_an_erased_blob,
    "counts {": execute("UPDATE erasures SET counts = counts || '{\"chunks\": 1}'"),
    "has no finished receipt": execute("UPDATE erasures SET finished_at = NULL"),
    "mails did not arrive": drop_a_mail,
    "are noted as sent that were not": lambda _: None,
    "mails were sent twice": take_a_mail_twice,
    "a mailing's counters": execute("UPDATE mailings SET sent = sent - 1 WHERE sent > 1"),
    "is pending, not sent": execute(
        "UPDATE mail_recipients SET state = 'pending', finished_at = NULL WHERE state = 'sent'"
    ),
    "a mailing's progress": execute("UPDATE jobs SET progress = 7 WHERE actor = 'send_bulk_emails'"),
    "notifications are missing": execute(f"DELETE FROM notifications {ONE_OF_THE_WORKSPACE.format('notifications')}"),
    "notifications were made twice": execute(
        "INSERT INTO notifications (id, workspace_id, user_name, kind, title, body, about, dedup_key)"
        " SELECT gen_random_uuid(), workspace_id, user_name, kind, title, body, about, 'again' FROM notifications"
        f" WHERE user_name = '{MAILED_USER}' AND workspace_id = '{WORKSPACE}' LIMIT 1"
    ),
    "webhooks were sent twice": hear_a_webhook_twice,
    "webhooks were heard": execute("UPDATE webhook_deliveries SET state = 'failed' WHERE state = 'delivered'"),
    "a notification has two deliveries": execute(
        'UPDATE webhook_deliveries SET data = data || \'{"notification_id": "one"}\''
    ),
    "an end was told twice": log_again("thumbnail_generated"),
    "warmings are noted": execute("DELETE FROM job_events WHERE event = 'cache.warmed'"),
    "the fault met no job of media": must_meet_nobody,
}


@pytest.mark.parametrize("said", BREAKAGES)
def test_a_broken_promise_is_seen(site: Site, said: str) -> None:
    BREAKAGES[said](site)

    assert [each for each in findings(site) if said in each] != []
