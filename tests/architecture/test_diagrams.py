"""The diagrams in the documentation are the tables in the code."""

import re
from pathlib import Path

import pytest

from domain import documents, jobs
from domain.diagrams import state_diagram

ROOT = Path(__file__).parents[2]

DIAGRAMS = {
    "document": state_diagram(documents.TRANSITIONS, initial=documents.DocumentState.UPLOADED),  # type: ignore[arg-type]
    "job": state_diagram(jobs.TRANSITIONS, initial=jobs.JobState.PENDING),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(
    ("page", "name"), [("README.md", "document"), ("docs/architecture.md", "document"), ("docs/architecture.md", "job")]
)
def test_the_diagram_on_the_page_is_the_table_in_the_code(page: str, name: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")

    drawn = re.search(rf"<!-- diagram: {name} -->\n```mermaid\n(.*?)\n```", text, re.DOTALL)

    assert drawn is not None, f"{page} has no diagram `{name}`"
    assert drawn.group(1) == DIAGRAMS[name]


def test_every_sql_guard_of_a_document_transition_is_the_one_in_the_table() -> None:
    sql = (ROOT / "adapters/postgres/sql/documents.sql").read_text(encoding="utf-8")

    for verb in ("start_extraction", "finish_extraction", "publish", "fail", "reindex"):
        sources, target = documents.TRANSITIONS[verb]
        query = sql.split(f"-- name: {verb}\n")[1].split("-- name:")[0]
        guard = re.search(r"AND (?:d\.)?state (?:IN \((.*?)\)|= ('\w+'))", query)
        assert guard is not None, verb
        found = {name.strip().strip("'") for name in (guard.group(1) or guard.group(2)).split(",")}
        assert found == {str(source) for source in sources}, verb
        assert f"SET state = '{target}'" in query, verb
