"""What must hold after every fault. Each rule yields what breaks it; a clean run yields nothing."""

from collections import Counter
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from domain.jobs import SYSTEM_WORKSPACE
from tests.builders import WORKSPACE
from tests.chaos.family_invariants import judge_families
from tests.chaos.plan import BATCHES_AT_A_TIME
from tests.chaos.report import Result
from tests.chaos.site import Site

#: An effect that happened twice, or a total that does not add up: one row each.
DOUBLED = {
    "a document was uploaded twice": "SELECT name FROM documents GROUP BY name HAVING count(*) > 1",
    "a document has two jobs of a kind": (
        "SELECT document_id, actor FROM jobs WHERE document_id IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1"
    ),
    "a job has two successful attempts": (
        "SELECT job_id FROM job_attempts WHERE outcome = 'succeeded' GROUP BY 1 HAVING count(*) > 1"
    ),
    "a successful attempt is not the job's last": (
        "SELECT a.job_id FROM job_attempts a JOIN jobs j ON j.id = a.job_id"
        " WHERE a.outcome = 'succeeded' AND a.lease <> j.lease"
    ),
    "a ready document was published more than once": "SELECT id FROM documents WHERE generation > 1",
    "a ready document's pages are not those of its file": (
        "SELECT d.id FROM documents d"
        " LEFT JOIN document_pages p ON p.document_id = d.id AND p.generation = d.generation"
        " WHERE d.state = 'ready' GROUP BY d.id, d.page_count"
        " HAVING count(p.*) <> d.page_count OR max(p.number) <> d.page_count"
    ),
    "a ready document's chunks are not what it says": (
        "SELECT d.id FROM documents d LEFT JOIN chunks c ON c.document_id = d.id"
        " WHERE d.state = 'ready' GROUP BY d.id, d.chunk_count, d.generation"
        " HAVING count(c.*) <> d.chunk_count OR max(c.ordinal) - min(c.ordinal) + 1 <> d.chunk_count"
        " OR max(c.generation) <> d.generation OR min(c.generation) <> d.generation"
    ),
    "a ready document has a chunk without vector": (
        "SELECT c.document_id FROM chunks c JOIN documents d ON d.id = c.document_id AND d.state = 'ready'"
        " LEFT JOIN chunk_embeddings e ON e.workspace_id = c.workspace_id AND e.text_hash = c.text_hash"
        " WHERE e.text_hash IS NULL"
    ),
    "a tick of the schedule ran twice": (
        f"SELECT actor FROM jobs WHERE workspace_id = '{SYSTEM_WORKSPACE}'"
        " GROUP BY actor, date_trunc('minute', created_at) HAVING count(*) > 1"
    ),
    "documents were booked that are not ready, or twice": (
        "SELECT 1 WHERE (SELECT coalesce(sum(documents), 0) FROM workspace_daily_usage)"
        f" <> (SELECT count(*) FROM documents WHERE state = 'ready' AND workspace_id = '{WORKSPACE}')"
    ),
    "pages or chunks were booked twice": (
        "SELECT 1 WHERE (SELECT (coalesce(sum(pages), 0)::bigint, coalesce(sum(chunks), 0)::bigint)"
        " FROM workspace_daily_usage)"
        " <> (SELECT (coalesce(sum(page_count), 0)::bigint, coalesce(sum(chunk_count), 0)::bigint)"
        f" FROM documents WHERE state = 'ready' AND workspace_id = '{WORKSPACE}')"
    ),
}


#: Blobs that somebody needs. Parts of exports are noted as unowned as well, for the time when they expire.
OWNED_BLOBS = (
    "SELECT blob_key FROM documents UNION SELECT blob_key FROM export_parts"
    " UNION SELECT blob_key FROM media_files WHERE blob_key IS NOT NULL"
)

DOOMED_BLOBS = (
    "SELECT count(*) FROM unowned_blobs WHERE key IN (SELECT blob_key FROM documents WHERE state <> 'deleted'"
    " UNION SELECT blob_key FROM media_files)"
)


def judge(site: Site, result: Result) -> None:
    """Fill in what can be counted, and the sentences about what is wrong."""
    states = _documents(site)
    result.broken += _misfits(site, states)
    result.lost = len(result.broken)
    doubled = [what for what, query in DOUBLED.items() for _ in site.rows(query)]
    if site.load:
        families = judge_families(site, site.load)
        result.broken += families.lost
        result.lost += len(families.lost)
        result.other_jobs, result.mails_twice = families.jobs, families.mails_twice
        doubled += families.doubled
    result.doubled = len(doubled) + site.stale_writes
    result.broken += _counted(doubled)
    result.nonterminal = int(site.value("SELECT count(*) FROM jobs WHERE finished_at IS NULL"))
    result.unsettled = int(site.value("SELECT count(*) FROM token_reservations"))
    result.reembedded_tokens = site.server.repeated_tokens
    result.allowed_tokens = site.cut_attempts * BATCHES_AT_A_TIME * site.server.largest_batch_tokens
    result.rescued = int(site.value("SELECT count(*) FROM job_attempts WHERE outcome = 'crashed'"))
    _recovery(site, result)
    result.broken += [sentence for rule in RULES for sentence in rule(site, result)]


def judge_remains(site: Site, result: Result) -> None:
    """Look for what is left after the shutdown."""
    left = sorted(str(path.relative_to(site.temporary)) for path in site.temporary.rglob("*") if path.is_file())
    left += sorted(path.name for path in site.temporary.glob("pymp-*"))
    result.orphans = len(left) + site.orphan_processes
    if left:
        result.broken.append(f"temporary files are left: {', '.join(left[:5])}{' …' if len(left) > 5 else ''}")
    if site.orphan_processes:
        result.broken.append(f"{site.orphan_processes} processes outlived their master")


def _documents(site: Site) -> dict[str, tuple[str, str | None, int | None]]:
    rows = site.rows("SELECT name, state, failure_code, page_count FROM documents")
    return {name: (state, code, pages) for name, state, code, pages in rows}


def _misfits(site: Site, states: dict[str, tuple[str, str | None, int | None]]) -> list[str]:
    """Name the documents that did not end as they had to."""
    found = []
    for upload in site.uploads:
        state, code, pages = states.get(upload.name, ("never accepted", None, None))
        must_be = site.given_up.get(upload.name, upload.code)
        wanted = ("failed", must_be) if must_be else ("ready", None)
        if (state, code) != wanted or (state == "ready" and pages != upload.pages):
            found.append(f"{upload.name} is {state} ({code}, {pages} pages), not {wanted}")
    return found


def _recovery(site: Site, result: Result) -> None:
    """Measure from the fault's end to the end of each job that was in flight when it struck."""
    rows = site.rows("SELECT id, finished_at FROM jobs WHERE id = ANY(%s)", list(site.affected))
    seconds = sorted(max(0.0, (ended - site.affected[job]).total_seconds()) for job, ended in rows if ended)
    result.affected = len(rows)
    if seconds:
        result.recovery_p50_seconds = round(_quantile(seconds, 0.5), 2)
        result.recovery_p99_seconds = round(_quantile(seconds, 0.99), 2)
        result.recovery_max_seconds = round(seconds[-1], 2)


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _counted(sentences: list[str]) -> list[str]:
    return [f"{what} ({count} times)" for what, count in Counter(sentences).items()]


# Rules


def _everything_ended(site: Site, result: Result) -> Iterator[str]:
    if result.nonterminal:
        rows = site.rows("SELECT actor, state, count(*) FROM jobs WHERE finished_at IS NULL GROUP BY 1, 2")
        yield f"jobs have not ended: {rows}"
    if result.unsettled:
        yield f"{result.unsettled} reservations are unsettled"


def _no_stale_writes(site: Site, result: Result) -> Iterator[str]:
    if site.stale_writes:
        yield f"a stale attempt changed {site.stale_writes} rows"


def _tokens_add_up(site: Site, result: Result) -> Iterator[str]:
    booked = int(site.value("SELECT coalesce(sum(tokens), 0) FROM workspace_daily_usage"))
    if booked != site.server.distinct_tokens:
        yield f"{booked} tokens are booked, {site.server.distinct_tokens} were charged for distinct texts"
    if result.reembedded_tokens > result.allowed_tokens:
        yield f"{result.reembedded_tokens} tokens were paid for twice, {result.allowed_tokens} may be"


def blobs_belong_to_somebody(site: Site, result: Result) -> Iterator[str]:
    owned = {row[0] for row in site.rows(OWNED_BLOBS)}
    known = owned | {row[0] for row in site.rows("SELECT key FROM unowned_blobs")}
    folder = site.blob_folder
    names = {unquote(str(path.relative_to(folder))) for path in folder.rglob("*") if path.is_file()}
    # What was cut off while it was stored is `<key>#<number>`; it goes with its key.
    files = {name.partition("#")[0] for name in names}
    if files - known:
        yield f"{len(files - known)} blobs belong to nobody, such as {min(files - known)}"
    if owned - names:
        yield f"{len(owned - names)} blobs are gone, such as {min(owned - names)}"
    if doomed := site.value(DOOMED_BLOBS):
        yield f"{doomed} blobs that somebody needs will be swept"


def _it_happened(site: Site, result: Result) -> Iterator[str]:
    if not site.blows:
        yield "the fault did not strike"


def _recovered_in_time(site: Site, result: Result) -> Iterator[str]:
    if result.recovery_p99_seconds > site.recovery_seconds:
        yield f"99 % had recovered after {result.recovery_p99_seconds} s, not {site.recovery_seconds:g} s"


RULES: tuple[Callable[[Site, Result], Iterator[str]], ...] = (
    _everything_ended,
    _no_stale_writes,
    _tokens_add_up,
    blobs_belong_to_somebody,
    _it_happened,
    _recovered_in_time,
)
