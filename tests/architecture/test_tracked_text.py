"""No tracked file names a place of one machine, or where packages were downloaded from."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Written in pieces, so that this file passes its own test.
FORBIDDEN = {
    "a folder of one machine": re.compile(r"(?<![\w.\-])/(?:work|farm|root)" + r"/|(?<![\w.\-])/home" + r"/[a-z]"),
    "a package registry's address": re.compile(r"https?://\S*/sim" + r"ple\b|file://\S*/sim" + r"ple\b"),
    "an option that names a registry": re.compile(
        r"(?<![\w-])--(?:extra-)?index" + r"-url|(?<![\w-])--find" + r"-links"
    ),
}

# A line of a file that may say so, and why.
EXCEPTIONS: dict[tuple[str, str], str] = {}


def tracked_files() -> list[str]:
    """Everything that git has or would take; in an unpacked archive without git, nothing can be asked."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("git does not know this folder")
    return sorted({name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()})


def faults(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in FORBIDDEN.items():
            if pattern.search(line):
                yield f"line {number} names {what}: {line.strip()[:120]}"


def test_no_tracked_file_names_a_machine_or_a_registry():
    found = {}
    for name in tracked_files():
        raw = (ROOT / name).read_bytes()
        if b"\0" in raw:
            continue
        lines = [fault for fault in faults(raw.decode("utf-8", "replace")) if (name, fault) not in EXCEPTIONS]
        if lines:
            found[name] = lines

    assert found == {}


@pytest.mark.parametrize(
    "line",
    [
        "cd /wo" + "rk/main",
        "/ro" + "ot/.cache",
        'path = "/ho' + 'me/jane/x"',
        "--index" + "-url x",
        "--extra-index" + "-url=x",
        "https://host/sim" + "ple/",
        "file:///opt/sim" + "ple",
    ],
)
def test_every_such_line_is_seen(line):
    assert list(faults(line))


@pytest.mark.parametrize(
    "line", ["uv --no-emit-index-url", "to_tsvector('simple', text)", "network/", "docs/work/flow"]
)
def test_innocent_lines_pass(line):
    assert list(faults(line)) == []
