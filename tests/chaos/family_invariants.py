"""What must hold of every family after a fault. Each rule yields what breaks it; a clean run yields nothing."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from hashlib import sha256

from PIL import Image

from domain.webhooks import message_id
from tests.builders import WORKSPACE
from tests.chaos.exported import compare
from tests.chaos.families import FAMILIES, FAMILY_OF, HOOKED_USER, MAILED_ADDRESS, MAILED_USER, SENDER_DOMAIN, Load
from tests.chaos.seeds import census, remains
from tests.chaos.site import Site

#: An effect that happened twice, or a total that does not add up: one row each.
DOUBLED = {
    "a picture was made of a file twice": (
        "SELECT 1 FROM media_files WHERE source_media_id = ANY(%s) GROUP BY source_media_id HAVING count(*) > 1"
    ),
    "an end was told twice": (
        "SELECT job_id FROM job_events WHERE event IN ('thumbnail_generated', 'export.ready', 'erasure.done',"
        " 'notification.created', 'cache.warmed', 'succeeded', 'failed') GROUP BY job_id, event HAVING count(*) > 1"
    ),
    "a mailing's counters are not its recipients": (
        "SELECT m.id FROM mailings m JOIN mail_recipients r ON r.mailing_id = m.id GROUP BY m.id"
        " HAVING (m.total, m.sent, m.failed, m.suppressed, m.unconfirmed) <> (count(*),"
        " count(*) FILTER (WHERE r.state = 'sent'), count(*) FILTER (WHERE r.state = 'failed'),"
        " count(*) FILTER (WHERE r.state = 'suppressed'), count(*) FILTER (WHERE r.state = 'unconfirmed'))"
        " OR m.total <> m.sent + m.failed + m.suppressed + m.unconfirmed"
    ),
    "a mailing's progress is not its recipients": (
        "SELECT m.id FROM mailings m JOIN jobs j ON j.id = m.id WHERE j.progress <> 100"
    ),
    "an export's parts overlap or have a gap": (
        "SELECT export_id FROM export_parts GROUP BY export_id, kind"
        " HAVING max(number) <> count(*) OR count(*) FILTER (WHERE is_last) <> 1"
    ),
    "a notification has two deliveries": (
        "SELECT 1 FROM webhook_deliveries GROUP BY endpoint_id, data ->> 'notification_id' HAVING count(*) > 1"
    ),
}


@dataclass
class Findings:
    """What was found out about the families."""

    lost: list[str]
    doubled: list[str]
    mails_twice: int
    jobs: int


def judge_families(site: Site, load: Load) -> Findings:
    """Ask every rule."""
    lost = [sentence for rule in RULES for sentence in rule(site, load)]
    doubled = [what for what, query in DOUBLED.items() for _ in site.rows(query, *[load.files] * query.count("%s"))]
    mails_twice = sum(times - 1 for times in taken_mails(load).values())
    queues = tuple(actor for actors in FAMILIES.values() for actor in actors)
    jobs = int(site.value("SELECT count(*) FROM jobs WHERE actor = ANY(%s)", list(queues)))
    return Findings(lost, doubled + [s for rule in TWICE for s in rule(site, load)], mails_twice, jobs)


def taken_mails(load: Load) -> Counter[tuple[str, str]]:
    """Count what the mail server took, by address and subject."""
    parser = BytesHeaderParser()
    return Counter(
        (address, str(parser.parsebytes(content)["Subject"]))
        for _, addresses, content in load.outside.mailbox.envelopes
        for address in addresses
    )


def crashed_attempts(site: Site, family: str) -> int:
    """Count the attempts of a family that a dead worker left behind."""
    query = (
        "SELECT count(*) FROM job_attempts a JOIN jobs j ON j.id = a.job_id"
        " WHERE a.outcome = 'crashed' AND j.actor = ANY(%s)"
    )
    return int(site.value(query, list(FAMILIES[family])))


# Rules


def _every_job_ended_as_it_must(site: Site, load: Load) -> Iterator[str]:
    rows = site.rows("SELECT id, actor, state, failure_code FROM jobs WHERE actor = ANY(%s)", list(FAMILY_OF))
    found = {job_id: (actor, state, code) for job_id, actor, state, code in rows}
    for job_id, (actor, state, code) in found.items():
        must_be = ("failed", load.must_fail[job_id]) if job_id in load.must_fail else ("succeeded", None)
        if (state, code) != must_be:
            yield f"{actor} is {state} ({code}), not {must_be}"
    if missing := set(load.ordered) - found.keys():
        yield f"{len(missing)} jobs are gone"


def _pictures_are_right(site: Site, load: Load) -> Iterator[str]:
    rows = site.rows(
        "SELECT id, blob_key, content_sha256, byte_count, width, height, kind, source_media_id"
        " FROM media_files WHERE workspace_id = %s AND state = 'ready'", WORKSPACE
    )  # fmt: skip
    missing = load.pictures.keys() - {row[0] for row in rows}
    missing |= set(load.files) - {row[7] for row in rows if row[6] == "thumbnail"}
    if missing:
        yield f"{len(missing)} pictures were not made"
    for media_id, key, digest, size, width, height, _, _ in rows:
        path = site.blob_folder / key
        content = path.read_bytes() if path.exists() else b""
        if (sha256(content).digest(), len(content)) != (bytes(digest), size):
            yield f"picture {media_id} is not the one that was noted"
        elif media_id in load.pictures:
            with Image.open(path) as image:
                image.load()
                most = load.pictures[media_id]
                if image.size != (width, height) or width > most[0] or height > most[1]:
                    yield f"picture {media_id} has {image.size}, noted {width, height}, wanted {most}"
    pending = site.value("SELECT count(*) FROM media_files WHERE state = 'pending'")
    if pending:
        yield f"{pending} pictures are still to be made"


def _every_mail_arrived(site: Site, load: Load) -> Iterator[str]:
    must = load.mails | {(MAILED_ADDRESS, title) for user, _, title in _must_be_told(site, load) if user == MAILED_USER}
    taken = taken_mails(load)
    if missing := must - taken.keys():
        yield f"{len(missing)} mails did not arrive, such as {min(missing)}"
    if strangers := taken.keys() - must:
        yield f"{len(strangers)} mails arrived that nobody asked for, such as {min(strangers)}"


def _deliveries_are_what_the_server_took(site: Site, load: Load) -> Iterator[str]:
    rows = site.rows("SELECT mailing_id, number, address, state FROM mail_recipients")
    sent = {f"<{mailing}.{number}@{SENDER_DOMAIN}>" for mailing, number, _, state in rows if state == "sent"}
    parser = BytesHeaderParser()
    taken = {str(parser.parsebytes(content)["Message-ID"]) for _, _, content in load.outside.mailbox.envelopes}
    if sent != taken:
        yield f"{len(sent - taken)} mails are noted as sent that were not, {len(taken - sent)} were and are not noted"
    wanted = {"gone": "failed", "spared": "suppressed"}
    for _, _, address, state in rows:
        must_be = wanted.get(address.partition("@")[0], "sent")
        if state != must_be:
            yield f"{address} is {state}, not {must_be}"


def _everybody_was_told_once(site: Site, load: Load) -> Iterator[str]:
    rows = site.rows("SELECT user_name, kind, title FROM notifications WHERE workspace_id = %s", WORKSPACE)
    told, must = Counter(rows), _must_be_told(site, load)
    if missing := must - told.keys():
        yield f"{len(missing)} notifications are missing, such as {min(missing)}"
    if strangers := told.keys() - must:
        yield f"{len(strangers)} notifications are nobody's, such as {min(strangers)}"
    if twice := [each for each, times in told.items() if times > 1]:
        yield f"{len(twice)} notifications were made twice, such as {twice[0]}"
    heard = {request.headers["webhook-id"] for request in load.outside.receiver.requests}
    hooked = sum(user == HOOKED_USER for user, _, _ in must)
    noted = site.rows("SELECT event_id FROM webhook_deliveries WHERE state = 'delivered'")
    delivered = {message_id(row[0]) for row in noted}
    if heard != delivered or len(noted) != hooked:
        yield f"{len(heard)} webhooks were heard, {len(delivered)} are noted as delivered, there must be {hooked}"


def _must_be_told(site: Site, load: Load) -> set[tuple[str, str, str]]:
    ends = site.rows(
        "SELECT name, state FROM documents WHERE workspace_id = %s AND state IN ('ready', 'failed')", WORKSPACE
    )
    words = {"ready": "is ready", "failed": "has failed"}
    of_documents = {
        (user, f"document.{state}", f"{name} {words[state]}")
        for name, state in ends
        for user in (MAILED_USER, HOOKED_USER)
    }
    return load.told | of_documents


def _exports_are_whole(site: Site, load: Load) -> Iterator[str]:
    for export_id in load.exports:
        yield from compare(site, export_id, load.exported.workspace_id)


def _nothing_erased_is_left(site: Site, load: Load) -> Iterator[str]:
    for job_id, erasure in load.erasures.items():
        rows = site.rows("SELECT counts, finished_at FROM erasures WHERE id = %s", job_id)
        counts, finished_at = rows[0] if rows else ({}, None)
        if not finished_at:
            yield f"erasure {job_id} has no finished receipt"
        workspace_id = erasure.seed.workspace_id
        after = census(site, workspace_id)
        gone = {what: count - after[what] for what, count in erasure.before.items()}
        counted = {what: counts.get(what, 0) for what in gone}
        if counted != gone:
            yield f"the receipt of erasure {job_id} counts {counted}, gone are {gone}"
        if erasure.document_id is None:
            if left := remains(site, workspace_id):
                yield f"of an erased workspace are left: {left}"
        elif (gone["documents"], gone["blobs"], gone["document_pages"], gone["chunks"]) != (1, 1, 4, 30):
            yield f"of the workspace of one erased document are gone: {gone}"


def _every_warming_was_noted(site: Site, load: Load) -> Iterator[str]:
    rows = site.rows("SELECT job_id FROM job_events WHERE event = 'cache.warmed'")
    if {row[0] for row in rows} != set(load.warmings):
        yield f"{len(rows)} warmings are noted, {len(load.warmings)} were asked for"


def _every_family_was_met(site: Site, load: Load) -> Iterator[str]:
    rows = site.rows("SELECT DISTINCT actor FROM jobs WHERE id = ANY(%s)", list(site.affected))
    met = {FAMILY_OF[actor] for (actor,) in rows if actor in FAMILY_OF}
    if missing := site.must_meet - met:
        yield f"the fault met no job of {', '.join(sorted(missing))}"


def _mails_twice(site: Site, load: Load) -> Iterator[str]:
    """A worker that dies while a mail is under way leaves one recipient in doubt, never more."""
    taken = taken_mails(load)
    twice, allowed = sum(times - 1 for times in taken.values()), crashed_attempts(site, "mail")
    if twice > allowed:
        yield f"{twice} mails were sent twice, {allowed} attempts at mailings died"
    doubts = int(site.value("SELECT coalesce(sum(doubts), 0) FROM mailings"))
    if doubts < twice:
        yield f"{twice} mails were sent twice, {doubts} doubts are noted"


def _webhooks_twice(site: Site, load: Load) -> Iterator[str]:
    heard = Counter(request.headers["webhook-id"] for request in load.outside.receiver.requests)
    twice, allowed = sum(times - 1 for times in heard.values()), crashed_attempts(site, "webhooks")
    if twice > allowed:
        yield f"{twice} webhooks were sent twice, {allowed} attempts at them died"


Rule = Callable[[Site, Load], Iterator[str]]

RULES: tuple[Rule, ...] = (
    _every_job_ended_as_it_must,
    _pictures_are_right,
    _every_mail_arrived,
    _deliveries_are_what_the_server_took,
    _everybody_was_told_once,
    _exports_are_whole,
    _nothing_erased_is_left,
    _every_warming_was_noted,
    _every_family_was_met,
)
TWICE: tuple[Rule, ...] = (_mails_twice, _webhooks_twice)
