"""The composition root: the only place that builds adapters and binds use cases to them."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from tempfile import gettempdir
from uuid import UUID

from adapters.blobs.store import ObstoreBlobStore
from adapters.bootstrap_media import MediaProducer, MediaWork, bind_media_producer, bind_media_work, make_picture_maker
from adapters.data_jobs import DataDesk, DataJobs, bind_data_jobs, make_data_desk
from adapters.embeddings.provider import make_embedder
from adapters.mail.bootstrap import PostOffice, bind_sending, make_post_office
from adapters.pdf.reader import SandboxedPageReader
from adapters.postgres.api_keys import PostgresApiKeys
from adapters.postgres.api_reading import QueueReading, WorkspaceReading
from adapters.postgres.dispatch import PostgresDispatch
from adapters.postgres.errors import translated
from adapters.postgres.exports import ExportLinks
from adapters.postgres.idempotency import RequestKey
from adapters.postgres.leases import PostgresLeases
from adapters.postgres.ledger import PostgresLedger
from adapters.postgres.media import MediaReading
from adapters.postgres.migrate import check_schema, migrate
from adapters.postgres.pool import LazyPool, connect
from adapters.postgres.search import PostgresSearcher
from adapters.postgres.tenancy import WorkspacePool
from adapters.postgres.transactions import PostgresTransactions
from adapters.postgres.usage import PostgresReservations
from adapters.postgres.vector_index import ensure_vector_index
from adapters.postgres.webhooks import PostgresDeliveries, PostgresEndpoints, WebhookSearch
from adapters.redis.buckets import TokenBuckets
from adapters.redis.hints import Hints
from adapters.redis.live import RedisLiveBell
from adapters.settings import Settings
from adapters.sqlite.reservations import SqliteReservations
from adapters.webhooks.http import HttpSender
from domain.chunking import Chunker
from domain.dead_letters import Verdict, discard_job, retry_job
from domain.errors import SettingsError
from domain.extraction import ExtractionReport, extract_document
from domain.housekeeping import (
    cleanup_stale_reservations,
    index_vectors,
    prune_history,
    sweep_blobs,
    sweep_documents,
)
from domain.indexing import Indexer, IndexingReport, index_document
from domain.intake import Receipt, delete_document, receive_document, reindex_document, replace_document
from domain.jobs import EXTRACT_QUEUE, INDEX_QUEUE, MEDIA_QUEUE
from domain.ledger import DispatchTable, LeaseTable
from domain.live import LiveBell
from domain.mail_delivery import MailingReport
from domain.media import PictureMaker
from domain.ports import BlobStore, Embedder, PageReader, Reservations, Transactions
from domain.retention import Pruned, Retention
from domain.search import Hit, search_chunks
from domain.usage import Reservation
from domain.webhook_delivery import DeliveryReport, deliver_webhook
from domain.webhooks import NewEndpoint, TargetPolicy, create_endpoint, rotate_secret


@dataclass(frozen=True, slots=True)
class WorkerRuntime:
    """What actors may do: use cases, bound to their ports."""

    extract_document: Callable[..., ExtractionReport]
    index_document: Callable[..., IndexingReport]
    cleanup_stale_reservations: Callable[[], list[Reservation]]
    sweep_documents: Callable[[], Sequence[UUID]]
    sweep_blobs: Callable[[], int]
    index_vectors: Callable[[], int]
    prune_history: Callable[[], Pruned]
    deliver_webhook: Callable[..., DeliveryReport]
    data: DataJobs
    media: MediaWork
    send_mailing: Callable[..., MailingReport]
    embedding_model: str


@dataclass(frozen=True, slots=True)
class ProducerRuntime:
    """What callers may do: an API process, the command line."""

    receive_document: Callable[..., Receipt]
    replace_document: Callable[..., Receipt | None]
    reindex_document: Callable[..., UUID | None]
    delete_document: Callable[..., bool]
    retry_job: Callable[..., Verdict]
    discard_job: Callable[[UUID], Verdict]
    media: MediaProducer
    pool: LazyPool
    ledger: PostgresLedger


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What callers may do about webhooks, over one pool: the whole one, or a workspace's."""

    create_endpoint: Callable[..., tuple[NewEndpoint, str]]
    rotate_secret: Callable[..., str | None]
    endpoints: PostgresEndpoints
    search: WebhookSearch


def make_pool(settings: Settings) -> LazyPool:
    """Build the process's pool; it connects on first use."""
    return LazyPool(settings.database_url.get_secret_value(), size=settings.database_pool_size)


def make_hints(settings: Settings) -> Hints:
    """Build the doorbell; it connects on first use."""
    return Hints(settings.redis_url.get_secret_value(), prefix=settings.queue_name)


def make_live_bell(settings: Settings) -> LiveBell:
    """Build the doorbell of live progress; it connects on first use."""
    return RedisLiveBell(settings.redis_url.get_secret_value(), prefix=settings.queue_name)


def make_ledger(pool: LazyPool) -> PostgresLedger:
    """Build the ledger over a pool."""
    return PostgresLedger(pool)


def make_blobs(settings: Settings) -> BlobStore:
    """Build the blob store."""
    return ObstoreBlobStore(settings.blob_url)


def make_transactions(settings: Settings, pool: LazyPool) -> Transactions:
    """Build the opener of units of work."""
    return PostgresTransactions(pool, reservation_ttl=timedelta(seconds=settings.reservation_ttl_seconds))


def make_reservations(settings: Settings, pool: LazyPool) -> Reservations:
    """Build the reservations table, in Postgres or in the SQLite file that DATABASE_URL names."""
    if settings.is_sqlite:
        return SqliteReservations(settings.database_url.get_secret_value())
    return PostgresReservations(pool)


def make_retention(settings: Settings) -> Retention:
    """Read how long history is kept."""
    return Retention(
        finished_jobs=timedelta(days=settings.keep_jobs_days),
        failed_jobs=timedelta(days=settings.keep_failed_jobs_days),
        events=timedelta(days=settings.keep_events_days),
        ticks=timedelta(days=settings.keep_ticks_days),
    )


def make_reader(settings: Settings) -> SandboxedPageReader:
    """Build the sandboxed parser."""
    return SandboxedPageReader(
        parser_memory_bytes=settings.parser_memory_bytes,
        parser_cpu_seconds=settings.parser_cpu_seconds,
        parser_wall_seconds=settings.parser_wall_seconds,
        parser_page_seconds=settings.parser_page_seconds,
        parser_processes=settings.parser_processes,
        document_max_pages=settings.document_max_pages,
        document_max_characters=settings.document_max_characters,
        page_max_characters=settings.page_max_characters,
    )


@contextmanager
def open_leases(settings: Settings) -> Iterator[LeaseTable]:
    """Open the leases over a connection of their own."""
    with closing(connect(settings.database_url.get_secret_value())) as connection:
        yield PostgresLeases(connection, ttl=settings.lease_ttl, max_crashes=settings.max_crashes)


@contextmanager
def open_dispatch(settings: Settings) -> Iterator[DispatchTable]:
    """Open the relay's side of the ledger over a connection of its own."""
    with closing(connect(settings.database_url.get_secret_value())) as connection:
        yield PostgresDispatch(connection)


@contextmanager
def open_worker_runtime(settings: Settings, pool: LazyPool, queues: Collection[str]) -> Iterator[WorkerRuntime]:
    """Check the schema, open the pool, bind the use cases. Raises SchemaError, SettingsError, TransientError, OSError.

    What takes long to start for the first job of one of these queues is started ahead.
    """
    if settings.is_sqlite:
        raise SettingsError(
            "DATABASE_URL names a SQLite file, which serves reservations alone; workers need PostgreSQL"
        )
    _check_temporary_folder()
    with translated(), closing(connect(settings.database_url.get_secret_value())) as connection:
        check_schema(connection)  # before the pool, which waits half a minute for a database that it cannot use
    reader, maker = make_reader(settings), make_picture_maker(settings)
    try:
        with (
            reader.kept_warm() if EXTRACT_QUEUE in queues else nullcontext(),
            maker.kept_warm() if MEDIA_QUEUE in queues else nullcontext(),
        ):
            yield bind_worker(settings, pool, make_embedder(settings), reader, maker, queues)
    finally:
        pool.close()


def _check_temporary_folder() -> None:
    """Raise OSError where metrics, beacons and copies of blobs would find no room."""
    try:
        gettempdir()
    except OSError as error:
        raise OSError(f"{error.strerror}: set TMPDIR to a folder that can be written to, or make room") from error


def bind_worker(  # noqa: PLR0917 - what only a worker process has
    settings: Settings,
    pool: LazyPool,
    embedder: Embedder,
    reader: PageReader,
    maker: PictureMaker,
    queues: Collection[str],
) -> WorkerRuntime:
    """Bind the workers' use cases to their ports. A process that serves `queues` of both stages does both at once."""
    transactions = make_transactions(settings, pool)
    indexer = Indexer(Chunker(settings.chunk_tokens, settings.chunk_overlap_tokens), embedder)
    return WorkerRuntime(
        extract_document=partial(
            extract_document,
            transactions=transactions,
            blobs=make_blobs(settings),
            reader=reader,
            indexer=indexer if INDEX_QUEUE in queues else None,
        ),
        index_document=partial(index_document, transactions=transactions, indexer=indexer),
        cleanup_stale_reservations=partial(cleanup_stale_reservations, reservations=make_reservations(settings, pool)),
        sweep_documents=partial(sweep_documents, transactions=transactions),
        sweep_blobs=partial(sweep_blobs, transactions=transactions, blobs=make_blobs(settings)),
        index_vectors=partial(index_vectors, transactions=transactions),
        prune_history=partial(prune_history, transactions=transactions, keep=make_retention(settings)),
        deliver_webhook=partial(
            deliver_webhook,
            deliveries=PostgresDeliveries(pool),
            sender=HttpSender(make_target_policy(settings), timeout_seconds=settings.webhook_timeout_seconds),
            disable_after=timedelta(days=settings.webhook_disable_after_days),
        ),
        data=bind_data_jobs(settings, pool, embedder),
        media=bind_media_work(settings, transactions, make_blobs(settings), maker),
        send_mailing=bind_sending(settings, pool, make_blobs(settings)),
        embedding_model=embedder.model,
    )


def make_producer(settings: Settings, pool: LazyPool | None = None, blobs: BlobStore | None = None) -> ProducerRuntime:
    """Bind the callers' use cases to their ports; nothing connects before it is used."""
    pool = pool or make_pool(settings)
    transactions, blobs = make_transactions(settings, pool), blobs or make_blobs(settings)
    return ProducerRuntime(
        receive_document=partial(
            receive_document, transactions=transactions, blobs=blobs, max_bytes=settings.document_max_bytes
        ),
        replace_document=partial(
            replace_document, transactions=transactions, blobs=blobs, max_bytes=settings.document_max_bytes
        ),
        reindex_document=partial(reindex_document, transactions=transactions),
        delete_document=partial(delete_document, transactions=transactions, blobs=blobs),
        retry_job=partial(retry_job, transactions=transactions),
        discard_job=partial(discard_job, transactions=transactions),
        media=bind_media_producer(settings, transactions, blobs),
        pool=pool,
        ledger=make_ledger(pool),
    )


@dataclass(frozen=True, slots=True)
class WorkspaceRuntime:
    """What a caller of the API may do in its workspace, with the rights of that workspace alone. One thread's use."""

    id: UUID
    pool: WorkspacePool
    reading: WorkspaceReading
    producer: ProducerRuntime
    search: Callable[..., Sequence[Hit]]
    webhooks: Webhooks
    data: DataDesk
    media: MediaReading
    mail: PostOffice
    most_waiting_documents: int

    def request_key(self, operation: str, key: str) -> RequestKey:
        """Bind an Idempotency-Key."""
        return RequestKey(self.pool, self.id, operation, key)


@dataclass(frozen=True, slots=True)
class ApiRuntime:
    """What an API process shares between its requests."""

    settings: Settings
    pool: LazyPool
    keys: PostgresApiKeys
    queues: QueueReading
    buckets: TokenBuckets
    blobs: BlobStore
    links: ExportLinks
    embedder: Callable[[], Embedder]

    def within(self, workspace_id: UUID) -> WorkspaceRuntime:
        """Open a workspace for one request."""
        pool = WorkspacePool(self.pool, workspace_id)
        return WorkspaceRuntime(
            id=workspace_id,
            pool=pool,
            reading=WorkspaceReading(pool, workspace_id),
            producer=make_producer(self.settings, pool, self.blobs),
            search=lambda *args, **options: search_chunks(
                *args, **options, searcher=PostgresSearcher(self.pool, pool), embedder=self.embedder()
            ),
            webhooks=make_webhooks(self.settings, pool),
            data=make_data_desk(pool),
            media=MediaReading(pool, workspace_id),
            mail=make_post_office(self.settings, pool),
            most_waiting_documents=self.settings.api_backlog_documents,
        )

    def close(self) -> None:
        """Close every connection."""
        self.pool.close()
        self.buckets.close()


#: A caller hears that the database is away after this long, and tries again.
API_PATIENCE_SECONDS = 3.0


def make_api(settings: Settings) -> ApiRuntime:
    """Bind what the HTTP API does to its ports; nothing connects before it is used."""
    if settings.is_sqlite:
        raise SettingsError(
            "DATABASE_URL names a SQLite file, which serves reservations alone; the API needs PostgreSQL"
        )
    url, redis_url = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
    pool = LazyPool(url, size=settings.api_database_pool_size, patience_seconds=API_PATIENCE_SECONDS)
    return ApiRuntime(
        settings=settings,
        pool=pool,
        keys=PostgresApiKeys(pool),
        queues=QueueReading(pool),
        buckets=TokenBuckets(
            redis_url,
            prefix=settings.queue_name,
            per_second=settings.api_requests_per_second,
            burst=settings.api_requests_burst,
        ),
        blobs=make_blobs(settings),
        links=ExportLinks(pool),
        embedder=cache(partial(make_embedder, settings)),
    )


def make_target_policy(settings: Settings) -> TargetPolicy:
    """Read which addresses webhooks may be sent to."""
    return TargetPolicy(allow_private=settings.webhooks_allow_private)


def make_webhooks(settings: Settings, pool: LazyPool) -> Webhooks:
    """Bind what callers do about webhooks to its ports."""
    endpoints = PostgresEndpoints(pool)
    return Webhooks(
        create_endpoint=partial(
            create_endpoint,
            endpoints=endpoints,
            policy=make_target_policy(settings),
            limit=settings.webhook_endpoints_per_workspace,
        ),
        rotate_secret=partial(rotate_secret, endpoints=endpoints),
        endpoints=endpoints,
        search=WebhookSearch(pool),
    )


def make_search(settings: Settings, pool: LazyPool) -> Callable[..., Sequence[Hit]]:
    """Bind `search_chunks` to its ports; the model loads and the pool connects on first use."""
    return partial(search_chunks, searcher=PostgresSearcher(pool), embedder=make_embedder(settings))


def prepare_database(settings: Settings) -> list[str]:
    """Apply missing migrations and build the configured model's index; return the names of what was done.

    Raises SchemaError and SettingsError; safe to call at every start and by several callers at once.
    """
    url = settings.database_url.get_secret_value()
    done, embedder = migrate(url), make_embedder(settings)
    with closing(connect(url)) as connection:
        is_new = ensure_vector_index(connection, embedder.model, embedder.dimensions)
    return [*done, *([f"vector index for {embedder.model}"] if is_new else [])]
