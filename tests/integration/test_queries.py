"""Every named query is valid on the migrated schema, says what it does, and is used."""

import re
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

from adapters.postgres.sql import load_queries

ROOT = Path(__file__).parents[2]
AGGREGATES = sorted(
    entry.name.removesuffix(".sql") for entry in files("adapters.postgres.sql").iterdir() if entry.name.endswith(".sql")
)
QUERIES = {f"{aggregate}.{name}": text for aggregate in AGGREGATES for name, text in load_queries(aggregate).items()}
LITERALS = {"{dimensions}": "8", "{model}": "'fake/8'", "{table}": "documents"}
#: Queries of an extension that a server may lack.
OPTIONAL = {load_queries("warming")["prewarm"]: "pg_prewarm"}
_PARAMETER = re.compile(r"%\((\w+)\)[sb]")


@pytest.fixture(scope="module")
def schema(postgres_url: str, template_database: str):
    from tests.conftest import _new_database

    with _new_database(postgres_url, template_database) as url, psycopg.connect(url, autocommit=True) as connection:
        yield connection


def numbered(query: str) -> str:
    """Return the query as PREPARE wants it: $1 for the first name, and so on."""
    for placeholder, literal in LITERALS.items():
        query = query.replace(placeholder, literal)
    names = list(dict.fromkeys(_PARAMETER.findall(query)))
    return _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", query).replace("%%", "%")


def is_preparable(query: str) -> bool:
    return re.search(r"^(COPY|CREATE)", query, re.MULTILINE) is None


@pytest.mark.parametrize("query", [text for text in QUERIES.values() if is_preparable(text)],
                         ids=[name for name, text in QUERIES.items() if is_preparable(text)])  # fmt: skip
def test_postgres_accepts_the_query(schema: psycopg.Connection, query: str) -> None:
    extension = OPTIONAL.get(query)
    if extension and not schema.execute("SELECT FROM pg_extension WHERE extname = %s", [extension]).fetchone():
        pytest.skip(f"the server lacks {extension}")
    schema.execute(f"PREPARE named_query AS {numbered(query)}")
    schema.execute("DEALLOCATE named_query")


@pytest.mark.parametrize("name", [name for name, text in QUERIES.items() if "\nCOPY" in text])
def test_postgres_accepts_the_copy(schema: psycopg.Connection, name: str) -> None:
    with schema.cursor() as cursor, cursor.copy(QUERIES[name]):
        pass


@pytest.mark.parametrize("name", QUERIES)
def test_a_sentence_says_what_the_query_does(name: str) -> None:
    first_line = QUERIES[name].splitlines()[0]

    assert re.fullmatch(r"-- \S.{10,}", first_line), first_line


@pytest.mark.parametrize("name", QUERIES)
def test_the_query_is_used(name: str) -> None:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "adapters").rglob("*.py"))

    assert any(f'"{name.partition(".")[2]}"' in source for source in sources)
