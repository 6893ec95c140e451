"""What a run was taken on: processor, memory, versions, and how busy the machine was."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.contenders import bullmq_folder

PACKAGES = (
    "dramatiq", "psycopg", "pgvector", "pymupdf-lite", "wordllama", "redis", "celery", "rq", "arq", "procrastinate",
    "langchain-community", "langchain-postgres", "langchain-text-splitters",
)  # fmt: skip


def describe_machine() -> dict[str, object]:
    """Return what shapes the figures and identifies nobody."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def describe_versions(servers: Mapping[str, str]) -> dict[str, str | None]:
    """Return the version of everything that was compared; null for what is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version(), **servers}
    found |= {package: _version(package) for package in PACKAGES}
    return found | {"headrace": _commit(), "bullmq": _bullmq()}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or "unknown")


def _commit() -> str:
    """Return our version, and the commit when git can tell."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    root = Path(__file__).parents[1]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return f"{_version('headrace')} {answer.stdout.strip()}".strip()


def _bullmq() -> str | None:
    import json

    folder = bullmq_folder()
    package = folder / "node_modules" / "bullmq" / "package.json" if folder else None
    return str(json.loads(package.read_text())["version"]) if package else None
