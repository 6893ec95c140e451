"""The other families beside documents: their workers die in the middle, and their doorbell forgets."""

import time
from collections.abc import Set
from functools import partial

from domain.crash_points import FAMILY_CRASH_POINTS
from tests.chaos.crash_faults import start_with_tokens, tokens
from tests.chaos.doorbell_faults import FLUSH_EVERY_SECONDS, FLUSHES, RUNG_FOR
from tests.chaos.families import FAMILIES, Load
from tests.chaos.fault import fault
from tests.chaos.plan import PROCESSES, THREADS
from tests.chaos.process_faults import KILLS
from tests.chaos.processes import wait_until
from tests.chaos.site import Site

#: More kills than it takes to meet every family, fewer than it takes to meet a job three times.
MOST_KILLS = 8
MOST_FLUSHES = 40
HUNT_SECONDS = 20
PREY, PREY_SECONDS = 3, 0.5

#: Webhooks tell of notifications; whether a kill meets one is chance.
HUNTED = frozenset(FAMILIES) - {"webhooks"}


def load_of(site: Site) -> Load:
    assert site.load, "this fault needs the load of every family"
    return site.load


def start_one_process(site: Site) -> None:
    """Whatever runs dies with it: so every kill is known to have met those families that were at work."""
    site.start_workers(processes=1, threads=PROCESSES * THREADS)
    site.start_scheduler()


#: All that a killed process ran are suspects, of which a process runs one at a time, mailings of seconds among them.
dying = partial(fault, has_families=True, recovery_seconds=60.0)


@dying("every family: kill -9 of the worker until each is met", start=start_one_process)
def kill_every_family(site: Site) -> None:
    """Wait until families are at work that no kill has met yet, kill, and see whose jobs nobody runs any more."""
    load, met, kills = load_of(site), set[str](), 0
    while (kills < KILLS or not met >= HUNTED) and kills < MOST_KILLS:
        unmet = HUNTED - met or HUNTED
        load.order()
        wait_for_prey(load, unmet)
        starts = len(site.master.starts)
        with site.blow(cut_attempts=PROCESSES * THREADS, lasts=True):
            site.master.kill_worker()
            met |= load.families_in("running")
        kills += 1
        if kills < KILLS or not met >= HUNTED:
            site.master.wait_until_restarted(starts)
    site.must_meet = HUNTED
    site.count_recovery_from_now()  # the kills are one blow: until the last of them nothing could recover
    assert met >= HUNTED, f"{kills} kills met no job of {HUNTED - met}"


def wait_for_prey(load: Load, families: Set[str]) -> None:
    """Wait until some of the families are at work at once, or one of them for a while."""
    patience = time.monotonic() + PREY_SECONDS

    def is_there() -> bool:
        found = len(families & load.families_in("running"))
        return found >= min(PREY, len(families)) or (found > 0 and time.monotonic() > patience)

    wait_until(is_there, seconds=HUNT_SECONDS, what=f"a running job of {', '.join(families)}")


@fault("every family: FLUSHALL while queued", has_families=True, disturbed=RUNG_FOR)
def flush_every_family(site: Site) -> None:
    load, met, flushes = load_of(site), set[str](), 0
    with site.redis() as client:
        while (flushes < FLUSHES or not met >= HUNTED) and flushes < MOST_FLUSHES:
            if flushes % 3 == 0:
                load.order()
            with site.blow():
                met |= load.families_in("queued")
                client.flushall()
            flushes += 1
            time.sleep(FLUSH_EVERY_SECONDS)
    site.must_meet = HUNTED
    assert met >= HUNTED, f"{flushes} times nothing was queued of {HUNTED - met}"


def crash_in_family(point: str, site: Site) -> None:
    """Let workers die there, while jobs of every family come in."""
    load, count = load_of(site), 2 if site.plan.quick else 3
    with site.blow(cut_attempts=count * THREADS, lasts=True):
        for number in range(count):
            (tokens(site) / f"{point}.{number}").touch()
        for _ in range(count):
            load.order()
        wait_until(lambda: not any(tokens(site).iterdir()), seconds=60, what=f"{count} crashes at {point}")


for _point in FAMILY_CRASH_POINTS:
    dying(f"crash point {_point}", start=start_with_tokens)(partial(crash_in_family, _point))
