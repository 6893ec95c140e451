"""Procrastinate: jobs in Postgres, woken by LISTEN/NOTIFY."""

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from benchmarks.contenders.environment import DATABASE_URL
from benchmarks.contenders.marks import mark

app = App(connector=PsycopgConnector(conninfo=DATABASE_URL))


@app.task(queue="bench")
def noop(number: int) -> None:
    """Do nothing, and say when."""
    mark(number)


_open: list[App] = []


def send_noop(number: int) -> None:
    """Defer the job over one open connection pool."""
    if not _open:
        app.replace_connector(SyncPsycopgConnector(conninfo=DATABASE_URL)).__enter__().open()
        _open.append(app)
    noop.defer(number=number)
