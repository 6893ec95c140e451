"""Files that crash, starve or hang their parser. They end failed, with the reason; nobody else notices."""

from functools import partial

from tests.chaos.fault import fault
from tests.chaos.marks import Mark
from tests.chaos.processes import wait_until
from tests.chaos.site import Site

FAILED = "SELECT count(*) FROM documents WHERE state = 'failed'"


def start_sabotaged(site: Site) -> None:
    site.start_workers("actors", "tests.chaos.sabotage")
    site.start_scheduler()


def meet_poison(site: Site) -> None:
    with site.blow():
        wait_until(lambda: site.value(FAILED), seconds=60, what="the first poisoned file has been given up")


poisoned = partial(fault, start=start_sabotaged, environment={"PARSER_PAGE_SECONDS": "2"})

poisoned("sandbox segfaults on some files", mark=Mark.SEGFAULT)(meet_poison)
poisoned("sandbox eats memory on some files", mark=Mark.DEVOUR)(meet_poison)
poisoned("sandbox hangs on some files", mark=Mark.HANG)(meet_poison)
