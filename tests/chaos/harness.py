"""Run one fault from start to judgement."""

import logging
import shutil
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from tests.chaos.documents import make_documents, marked_every
from tests.chaos.families import Load, Outside, outside_servers
from tests.chaos.fault import Fault
from tests.chaos.invariants import judge, judge_remains
from tests.chaos.plan import Plan
from tests.chaos.report import Result
from tests.chaos.site import Site, a_site

Say = Callable[[str], None]


def run_all(
    faults: Sequence[Fault], plan: Plan, *, at_a_time: int = 2, say: Say = print, logs: Path | None = None
) -> list[Result]:
    """Run faults side by side: most of the time is spent waiting for leases and outages."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # the producer's pool would tell of every outage
    with ThreadPoolExecutor(at_a_time) as pool:
        return list(pool.map(lambda each: run(each, plan, say=say, logs=logs), faults))


def run(fault: Fault, plan: Plan, *, say: Say = print, logs: Path | None = None) -> Result:
    """Run a fault in a world of its own; whatever goes wrong is in the result."""
    count = fault.documents(plan)
    result, began = Result(fault.name, count, skipped=fault.skip()), time.monotonic()
    if not result.skipped:
        uploads = make_documents(
            count, marked=marked_every(fault.mark_every, count, fault.mark) if fault.mark else None
        )
        with (
            outside_servers() if fault.has_families else nullcontext() as outside,
            a_site(plan, uploads, extra=_environment(fault, outside), proxied=fault.proxied) as site,
        ):
            site.disturbed, site.recovery_seconds = fault.disturbed, fault.recovery_seconds
            site.load = Load(site, outside) if outside else None
            try:
                _run(fault, site, result, say)
            except Exception:
                result.broken.append(traceback.format_exc(limit=-6))
            if result.broken and logs:
                shutil.copytree(site.folder / "logs", logs / fault.name, dirs_exist_ok=True)
    result.seconds = time.monotonic() - began
    say(result.line)
    return result


def _environment(fault: Fault, outside: Outside | None) -> dict[str, str]:
    return fault.environment | (outside.environment if outside else {})


def _run(fault: Fault, site: Site, result: Result, say: Say) -> None:
    count = len(site.uploads)
    first, rest = site.uploads[: count * 2 // 3], site.uploads[count * 2 // 3 :]
    fault.start(site)
    site.upload(first)
    for _ in range(site.plan.rounds if site.load else 0):
        site.load.order()
    say(f"{fault.name}: {len(first)} documents uploaded")
    site.wait_for_ready(count // 3)
    with site.uploading(rest):
        say(f"{fault.name}: {site.ready()} ready, the fault strikes")
        fault.inject(site)
        say(f"{fault.name}: the fault is over, {site.terminal()} of {count} have arrived")
    site.wait_until_quiet()
    for scheduler in site.schedulers:
        scheduler.terminate()
    site.wait_until_quiet()
    if fault.refuses_uploads and not site.refused_uploads:
        result.broken.append("no upload was refused")
    judge(site, result)
    site.stop()
    judge_remains(site, result)
