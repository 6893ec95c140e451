"""The short form: one fault of each kind, few documents, short leases. `make chaos` runs the rest."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS, QUICK_FAULTS
from tests.chaos.harness import run_all
from tests.chaos.plan import QUICK
from tests.chaos.report import Result

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    logs: Path = tmp_path_factory.mktemp("chaos")
    return {result.fault: result for result in run_all([FAULTS[name] for name in QUICK_FAULTS], QUICK, logs=logs)}


@pytest.mark.parametrize("name", QUICK_FAULTS)
def test_nothing_is_lost_doubled_or_left_behind(
    name: str, results: dict[str, Result], record_property: Callable[[str, object], None]
) -> None:
    result = results[name]

    record_property("recovery_p99_seconds", result.recovery_p99_seconds)
    assert result.broken == []
