"""The embeddings server refuses, breaks, hangs, or answers wrongly."""

from functools import partial
from time import sleep

from tests.chaos.fault import fault
from tests.chaos.plan import BATCHES_AT_A_TIME
from tests.chaos.processes import wait_until
from tests.chaos.site import Site
from tests.embeddings_server import Fault as Sickness

#: So long, the requests that were under way beside a wrong answer may take.
SETTLE_SECONDS = 5.0

REJECTED = "SELECT name FROM documents WHERE failure_code = 'embedding_rejected'"


def be_sick(sickness: Sickness, times: int, site: Site) -> None:
    """Give the next answers in this way."""
    with site.blow():
        site.server.misbehave(sickness, times=times)
        wait_until(lambda: site.server.sick >= times, seconds=60, what=f"{times} x {sickness}")


fault("embeddings: 429")(partial(be_sick, Sickness.RATE_LIMITED, 30))
fault("embeddings: 500")(partial(be_sick, Sickness.BROKEN, 30))
fault("embeddings: no answer")(partial(be_sick, Sickness.SILENT, 12))
fault("embeddings: a vector is missing")(partial(be_sick, Sickness.ONE_MISSING, 30))
fault("embeddings: cut off")(partial(be_sick, Sickness.CUT_SHORT, 30))


@fault("embeddings: wrong dimensions")
def wrong_dimensions(site: Site) -> None:
    """A wrong setting, not a hiccup: those documents are failed at once, with the setting's name.

    Several of the wrong answers may have been for one document, whose requests run side by side.
    """
    answers = 5
    be_sick(Sickness.WRONG_DIMENSIONS, answers, site)
    least = -(-answers // BATCHES_AT_A_TIME)
    wait_until(lambda: len(site.rows(REJECTED)) >= least, seconds=20, what=f"{least} rejected documents")
    sleep(SETTLE_SECONDS)
    rejected = [row[0] for row in site.rows(REJECTED)]
    site.given_up = dict.fromkeys(rejected[:answers], "embedding_rejected")
