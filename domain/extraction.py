"""Turn a file into stored pages and, when it is small and the worker may, go on to index them at once."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from domain.crash_points import crash_point
from domain.documents import Chunk, Document, Page, PageBatch
from domain.errors import FailureCode, ParkedError, PermanentError, TransientError
from domain.indexing import NO_TEXT_SENTENCE, Indexer, Indexing, IndexingReport
from domain.jobs import Lease
from domain.ports import BlobStore, PageReader, PagesRead, Transactions, Unit

#: Ends of the parser's process that may be the machine's fault once, and are the file's fault twice.
PARSER_DEATHS = frozenset({FailureCode.PARSER_CRASHED, FailureCode.PARSE_MEMORY, FailureCode.PARSE_TIMEOUT})

REPAIRED_WARNING = "The file's structure was damaged and has been repaired; every page was read."


@dataclass(frozen=True, slots=True)
class ExtractionReport:
    """What one extraction did. `skipped`: the document was gone, done, or in another job's hands.

    `indexing`: what followed at once, in the same attempt; None when another job does it.
    """

    skipped: bool = False
    resumed_after: int = 0
    pages: int = 0
    characters: int = 0
    indexing: IndexingReport | None = None


def extract_document(
    document_id: UUID,
    workspace_id: UUID,
    *,
    lease: Lease,
    transactions: Transactions,
    blobs: BlobStore,
    reader: PageReader,
    indexer: Indexer | None = None,
) -> ExtractionReport:
    """Read the document's pages, store them as they arrive, and put in the job that indexes them.

    A second run continues at the first missing page. The last transaction hands the document on and ends the job. With
    an `indexer`, a document that was read in one batch is indexed at once, from the pages in memory. A file that killed
    its parser is tried once more; then its content is quarantined until the parser's version changes.

    Raises PermanentError for files that cannot be read, TransientError, LeaseLostError, and what indexing raises.
    """
    with transactions(lease) as unit:
        document = unit.documents.start_extraction(document_id, workspace_id, lease.job_id)
        if document is None:
            unit.jobs.finish()
            return ExtractionReport(skipped=True)
        quarantined = unit.parser_deaths.find(document, reader.version)
        if quarantined is not None:
            raise quarantined
    attempt = _Attempt(document, lease, transactions)
    last, repaired = attempt.read_pages(blobs, reader)
    report = None
    if indexer is not None and last is not None and last.is_whole:
        report = attempt.index_at_once(last, indexer, repaired=repaired)
    return report or attempt.hand_over(last, repaired=repaired)


def check_readable(read: PagesRead) -> None:
    """Raise PermanentError when pages were lost (pdf_damaged) or nothing but blanks was found (pdf_no_text)."""
    if read.lost:
        message = (
            f"The file is damaged: {describe_pages(read.lost)} of {read.pages} could not be read. "
            "Get an undamaged copy and upload that."
        )
        raise PermanentError(FailureCode.PDF_DAMAGED, message)
    if read.characters == 0:
        raise PermanentError(FailureCode.PDF_NO_TEXT, NO_TEXT_SENTENCE)


def sum_up(pages: Sequence[Page]) -> PagesRead:
    """Sum up pages that are all in memory."""
    characters = [page.characters for page in pages]
    lost = tuple(page.number for page in pages if page.lost)
    return PagesRead(len(pages), sum(characters), characters.count(0), lost)


def describe_flaws(read: PagesRead, *, repaired: bool) -> str | None:
    """Say what a reader of a document that is fit to be searched should know all the same."""
    flaws = [REPAIRED_WARNING] if repaired else []
    if read.blank:
        flaws.append(
            f"{read.blank} of {read.pages} pages have no text; if they are scanned images, run text recognition (OCR)."
        )
    return " ".join(flaws) or None


def describe_pages(numbers: tuple[int, ...]) -> str:
    """Say which pages: `page 3`, `pages 3, 4 and 7`, `pages 3, 4, 5, 6, 7 and 12 more`."""
    if len(numbers) == 1:
        return f"page {numbers[0]}"
    shown, rest = numbers[:5], len(numbers) - 5
    if rest > 0:
        return f"pages {', '.join(map(str, shown))} and {rest} more"
    return f"pages {', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def describe_salvage(pages: int) -> str:
    """Say how far the parser got before it died, as a sentence more; nothing when it got nowhere."""
    if pages == 0:
        return ""
    return " The first page was read." if pages == 1 else f" The first {pages} pages were read."


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One run over one document."""

    document: Document
    lease: Lease
    transactions: Transactions

    def read_pages(self, blobs: BlobStore, reader: PageReader) -> tuple[PageBatch | None, bool]:
        """Store pages as they are read, all but the last batch, which is returned: what follows stores it, too.

        Return, too, whether the file's structure was repaired. An earlier run may have left nothing to read.
        """
        document, repaired, last = self.document, False, None
        if document.pages_done == document.page_count:
            return None, False
        with (
            blobs.local_file(document.blob_key) as file,
            closing(reader.read_pages(file, first_page=document.pages_done + 1)) as batches,
            self._counting_deaths(reader.version),
        ):
            for batch in batches:
                repaired |= batch.repaired
                if batch.is_last:
                    last = batch
                    continue
                with self.transactions(self.lease) as unit:  # an empty batch, too: the fence stops who is not wanted
                    if batch.pages:
                        unit.pages.add(document, batch)
                if batch.pages:
                    crash_point("after_page_batch")
                self.lease.checkpoint()
        return last, repaired

    def hand_over(self, last: PageBatch | None, *, repaired: bool) -> ExtractionReport:
        """Store the last pages, put in the job that indexes the document, and end this one."""
        document = self.document
        with self.transactions(self.lease) as unit:
            if last is not None:
                unit.pages.add(document, last)
                crash_point("after_page_batch")
            read = unit.pages.summarise(document)
            check_readable(read)
            next_job_id = unit.jobs.enqueue("index_document", document.id, document.workspace_id)
            warning = describe_flaws(read, repaired=repaired)
            crash_point("after_outbox_insert")
            unit.documents.finish_extraction(document, next_job_id=next_job_id, pages=read.pages, warning=warning)
            unit.jobs.finish()
            crash_point("before_extraction_commits")
        crash_point("after_extraction_commits")
        return ExtractionReport(resumed_after=document.pages_done, pages=read.pages, characters=read.characters)

    def index_at_once(self, whole: PageBatch, indexer: Indexer, *, repaired: bool) -> ExtractionReport | None:
        """Go all the way in this attempt; the job ends with that.

        What a free embedder makes is stored with pages and chunks, and shown to readers, in one transaction. Where
        vectors are paid for, pages and chunks are stored before, and each batch of vectors as it comes; so it is, too,
        with a new generation of a document.

        None, with nothing stored, when the workspace has no tokens left today: the job that indexes will wait for them.
        """
        read = sum_up(whole.pages)
        check_readable(read)
        chunks = list(indexer.chunker.chunk_pages(whole.pages))
        indexing = Indexing(self.document, self.lease, self.transactions, indexer)
        # A later generation takes away vectors, too: nobody may wait to do that while keeping others from doing it.
        is_one_step = indexer.embedder.is_free and self.document.target_generation == 1
        run = self._store_published if is_one_step else self._store_then_embed
        report = run(whole, chunks, indexing, describe_flaws(read, repaired=repaired))
        if report is None:
            return None
        return ExtractionReport(pages=read.pages, characters=read.characters, indexing=report)

    def _store_published(
        self, whole: PageBatch, chunks: list[Chunk], indexing: Indexing, warning: str | None
    ) -> IndexingReport | None:
        texts, result = indexing.embed_unpaid(chunks)
        try:
            with self.transactions(self.lease) as unit:
                self._store_pages(unit, whole)
                report = indexing.store_unpaid(unit, chunks, texts, result)
                self._pass_on(unit, whole, warning, chunks=len(chunks), embedded=len(chunks))
                indexing.flip(unit, len(chunks), tokens=report.tokens, unbooked=report.tokens)
        except ParkedError:
            return None
        crash_point("after_publishing_commits")
        return report

    def _store_then_embed(
        self, whole: PageBatch, chunks: list[Chunk], indexing: Indexing, warning: str | None
    ) -> IndexingReport | None:
        try:
            with self.transactions(self.lease) as unit:
                self._store_pages(unit, whole)
                missing = indexing.store(unit, chunks)
                self._pass_on(unit, whole, warning, chunks=len(chunks), embedded=len(chunks) - len(missing))
                crash_point("before_extraction_commits")
        except ParkedError:
            return None
        crash_point("after_extraction_commits")
        return indexing.embed_and_publish(missing, len(chunks))

    def _store_pages(self, unit: Unit, whole: PageBatch) -> None:
        unit.pages.add(self.document, whole)
        crash_point("after_page_batch")

    def _pass_on(self, unit: Unit, whole: PageBatch, warning: str | None, *, chunks: int, embedded: int) -> None:
        """Pass the document on to this very job."""
        unit.documents.finish_extraction(
            self.document,
            next_job_id=self.lease.job_id,
            pages=len(whole.pages),
            warning=warning,
            chunks=chunks,
            embedded=embedded,
        )

    @contextmanager
    def _counting_deaths(self, parser_version: str) -> Iterator[None]:
        """Turn the first death of the parser into another try; the second one quarantines the content."""
        try:
            yield
        except PermanentError as error:
            if error.code not in PARSER_DEATHS:
                raise
            with self.transactions(self.lease) as unit:
                is_quarantined = unit.parser_deaths.record(self.document, parser_version, error)
                salvaged = describe_salvage(unit.pages.summarise(self.document).pages)
            if is_quarantined:
                raise PermanentError(error.code, f"{error.message}{salvaged}") from error
            raise TransientError(error.code, error.message, retry_after=timedelta(seconds=1)) from error
