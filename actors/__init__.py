"""The entry point of `dramatiq actors` and `periodiq actors`: builds the broker, then imports the actor modules.

Building connects to nothing. A missing or wrong setting stops the start here, with its name.
"""

import sys

import dramatiq

from actors.broker import make_broker
from adapters.bootstrap import WorkerRuntime
from adapters.settings import load_settings
from domain.errors import SettingsError

#: sysexits(3) EX_CONFIG: a restart does not help.
EXIT_CONFIGURATION = 78

try:
    settings = load_settings()
except SettingsError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(EXIT_CONFIGURATION)

broker, lifecycle = make_broker(settings)
dramatiq.set_broker(broker)


def runtime() -> WorkerRuntime:
    """Return the bound use cases of this worker process. Raises RuntimeError outside of one."""
    return lifecycle.current


from actors.data import (  # noqa: E402 - actors need the broker
    erase_document,
    erase_workspace,
    export_workspace,
    user_notification,
    warm_cache,
)
from actors.documents import extract_document, index_document  # noqa: E402
from actors.housekeeping import (  # noqa: E402
    cleanup_stale_reservations,
    index_vectors,
    prune_history,
    sweep_blobs,
    sweep_documents,
)
from actors.mail import send_bulk_emails, send_single_email  # noqa: E402
from actors.media import generate_thumbnail, optimize_image, process_file, process_media  # noqa: E402
from actors.webhooks import deliver_webhook  # noqa: E402

__all__ = [
    "broker",
    "cleanup_stale_reservations",
    "deliver_webhook",
    "erase_document",
    "erase_workspace",
    "export_workspace",
    "extract_document",
    "generate_thumbnail",
    "index_document",
    "index_vectors",
    "optimize_image",
    "process_file",
    "process_media",
    "prune_history",
    "send_bulk_emails",
    "send_single_email",
    "sweep_blobs",
    "sweep_documents",
    "user_notification",
    "warm_cache",
]
