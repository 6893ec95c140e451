"""The environment is read in adapters/settings.py and nowhere else."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("actors", "middleware", "domain", "adapters")
SETTINGS = "adapters/settings.py"

NAMES = {"environ", "environb", "getenv", "getenvb", "dotenv_values", "load_dotenv"}

# Who else touches it, and why. An entry that is no longer needed fails the test.
EXCEPTIONS = {
    "middleware/metrics.py": "writes PROMETHEUS_MULTIPROC_DIR: prometheus_client can be told no other way",
    "adapters/exporter/server.py": "writes PROMETHEUS_MULTIPROC_DIR: prometheus_client can be told no other way",
    "adapters/embeddings/local.py": "writes TOKENIZERS_PARALLELISM: tokenizers can be told no other way",
    "adapters/logs.py": "NO_COLOR is a user's word to every program, not a setting of ours",
    "adapters/embedded/folders.py": "XDG_DATA_HOME is the platform's word for where a user's data lives, not a setting",
}


def uses_of_the_environment(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in NAMES:
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and NAMES & {alias.name for alias in node.names}:
            yield node.lineno


def modules() -> Iterator[str]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix()


def test_only_settings_reads_the_environment():
    readers = {
        name: lines
        for name in modules()
        if name != SETTINGS and (lines := list(uses_of_the_environment((ROOT / name).read_text(encoding="utf-8"))))
    }

    assert readers.keys() == EXCEPTIONS.keys(), readers


@pytest.mark.parametrize(
    "source", ["import os\nos.environ['X']", "import os\nos.getenv('X')", "from os import environ", "os.environ.copy()"]
)
def test_every_way_to_read_it_is_seen(source):
    assert list(uses_of_the_environment(source))
