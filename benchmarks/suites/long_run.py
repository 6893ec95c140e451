"""Memory: of the whole system over a long document, and of the workers over many small ones."""

import time
from pathlib import Path

from benchmarks.bench import Bench, Figure
from benchmarks.contenders import named
from benchmarks.files import join, small_files
from benchmarks.memory import MIB, Peak, private_bytes, resident_bytes, with_children
from benchmarks.running import Running
from benchmarks.suites.bulk import warm

#: Time for memory to be given back after the last document.
SETTLE_SECONDS = 2.0


def long_pdf(bench: Bench) -> Figure:
    """Ingest a PDF of few pages and one of many, each in a fresh system; compare the peaks of everything that runs."""
    folder = bench.fresh_folder("long-pdf")
    peaks = {}
    for pages in bench.sizes.long_pdf_pages:
        path = join(bench.originals, pages, folder / f"{pages}.pdf").path
        peaks[pages], seconds = _peak(bench, path)
        bench.say(f"scale: {pages:,} pages in {seconds:.1f} s, peak {peaks[pages] / MIB:.0f} MiB")
    small, large = peaks.values()
    names = {f"peak_mib_at_{pages}_pages": round(peak / MIB) for pages, peak in peaks.items()}
    return {**names, "ratio": round(large / small, 3)}


def _peak(bench: Bench, path: Path) -> tuple[int, float]:
    with warm(bench, named(["headrace"])[0]) as run:
        already = run.ready()
        with Peak(lambda: whole_system(bench, run)) as peak:
            began = run.send_document(path)["began"]
            ended = run.wait_until_ready(already + 1, look_seconds=0.05)
        return peak.bytes, (ended - began) / 1e9


def whole_system(bench: Bench, run: Running) -> int:
    """Sum up workers, parsers, producer and what belongs to the servers alone."""
    return resident_bytes(run.processes()) + private_bytes(with_children(bench.servers.pids()))


def many_documents(bench: Bench) -> Figure:
    """Ingest small documents; compare what the workers hold after many with what they hold after few."""
    few, many = bench.sizes.documents_for_rss
    folder = bench.fresh_folder("many-documents")
    with warm(bench, named(["headrace"])[0]) as run:
        already, held, began = run.ready(), {}, time.monotonic()
        for number, file in enumerate(small_files(many, folder), start=1):
            run.send_document(file.path)
            file.path.unlink()
            if number in (few, many):
                run.wait_until_ready(already + number, look_seconds=0.2)
                time.sleep(SETTLE_SECONDS)
                held[number] = _workers(run)
        seconds = time.monotonic() - began
    names = {f"worker_mib_after_{number}": round(value / MIB) for number, value in held.items()}
    return {**names, "documents_per_second": round(many / seconds, 1), "ratio": round(held[many] / held[few], 3)}


def _workers(run: Running) -> int:
    """Sum up everything but the producer."""
    return resident_bytes(pid for pid in run.processes() if pid != run.producer.pid)
