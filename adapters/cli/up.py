"""`headrace up`: servers, workers, scheduler and API under one supervisor."""

import sys
from pathlib import Path

from adapters.cli.place import Named, Place, own_place, published
from adapters.cli.programs import api_command, has_api, scheduler_command, worker_command
from adapters.cli.screen import facts, out, put_json, say
from adapters.cli.session import prepare
from adapters.embedded.folders import default_data_dir
from adapters.embedded.programs import Program
from adapters.embedded.stack import Stack, embedded_stack
from adapters.embedded.supervisor import Supervisor
from adapters.settings import Settings, load_settings


def run_up(data_dir: Path | None, *, processes: int, threads: int, postgres_port: int | None, as_json: bool) -> int:
    """Start what the settings do not name, migrate, run workers, scheduler and API until a signal; return 0 then."""
    named, folder = Named(), data_dir or default_data_dir()
    say(f"Starting in {folder} ...", "dim")
    needs_postgres, needs_valkey = named.database_url is None, named.redis_url is None
    with embedded_stack(folder, postgres=needs_postgres, valkey=needs_valkey, postgres_port=postgres_port) as stack:
        place = own_place(stack, named)
        settings = load_settings(place.addresses)
        done = prepare(settings, place if needs_postgres else None)
        environment = [*place.environment, *_log_format(named)]
        programs = [
            Program("worker", worker_command(environment, processes=processes, threads=threads)),
            Program("schedule", scheduler_command(environment)),
        ]
        if has_api() and settings.api_port:
            programs.append(Program("api", api_command(environment)))
        with published(place, stack.data_dir):
            _tell(stack, place, settings, done, as_json=as_json)
            code = Supervisor(programs, output=sys.stderr.buffer, servers=stack.servers).run()
    say(f"Stopped. What was ingested stays in {stack.data_dir}.", "dim")
    return code


def _log_format(named: Named) -> list[str]:
    """Logs come through a pipe, where `auto` means JSON; a person at a terminal reads them here."""
    return ["LOG_FORMAT=console"] if named.log_format is None and sys.stderr.isatty() else []


def _tell(stack: Stack, place: Place, settings: Settings, done: list[str], *, as_json: bool) -> None:
    where = {
        "database": place.database_url or "as DATABASE_URL names it",
        "redis": place.redis_url or "as REDIS_URL names it",
        "blobs": settings.blob_url,
        "metrics": f"http://{settings.metrics_host}:{settings.metrics_port}/metrics"
        if settings.metrics_port
        else "off",
        "api": f"http://{settings.api_host}:{settings.api_port}" if has_api() and settings.api_port else "off",
        "embeddings": settings.embedding_provider,
        "data_folder": str(stack.data_dir),
        "logs": str(stack.data_dir / "logs"),
    }
    if as_json:
        put_json({**where, "versions": dict(stack.versions), "migrated": done})
        return
    versions = ", ".join(f"{name} {version}" for name, version in stack.versions.items())
    rows = [(name.replace("_", " "), value) for name, value in where.items()]
    out().print(facts([("servers", versions), *rows, ("migrated", ", ".join(done))]))
    say("Now, in another terminal: headrace ingest FILE.pdf --wait. Ctrl-C stops everything.\n", "bold")
