"""The entry point of `headrace`: run a command, say in one sentence what went wrong, and end with a code that fits."""

import errno
import os
import sys
from importlib.util import find_spec
from io import TextIOWrapper

from domain.errors import (
    FailureCode,
    HeadraceError,
    InvalidJobError,
    InvalidMailError,
    InvalidWebhookError,
    SchemaError,
    SettingsError,
    TransientError,
)

FAILED = 1
WRONG_USAGE = 2
#: sysexits(3) EX_CONFIG.
WRONG_CONFIGURATION = 78
INTERRUPTED = 130

EXIT_CODES = {
    SettingsError: WRONG_CONFIGURATION,
    SchemaError: WRONG_CONFIGURATION,
    InvalidJobError: WRONG_USAGE,
    InvalidWebhookError: WRONG_USAGE,
    InvalidMailError: WRONG_USAGE,
}

ADVICE = {
    FailureCode.DATABASE_UNAVAILABLE: "`headrace doctor` looks closer.",
    FailureCode.BLOB_UNAVAILABLE: "Check BLOB_URL; `headrace doctor` looks closer.",
    FailureCode.EMBEDDING_UNAVAILABLE: "Check OPENAI_BASE_URL and OPENAI_API_KEY; `headrace doctor` looks closer.",
}

#: What a machine may refuse to any program: no fault of ours that a traceback would help to find.
REFUSALS = {
    errno.ENOSPC: "Make room and try again.",
    errno.EDQUOT: "Make room and try again.",
    errno.EROFS: "Choose a folder that can be written to.",
}


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 78 wrong configuration, 130 interrupted."""
    missing = [name for name in ("typer", "rich") if find_spec(name) is None]
    if missing:
        sys.exit(f"The command line needs {' and '.join(missing)}: pip install 'headrace[cli]'")
    if isinstance(sys.stdout, TextIOWrapper):  # names of files need not be text; JSON escapes them just so
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_run())


def _run() -> int:
    try:
        return _flushed(_code())
    except BrokenPipeError:  # `| head` has seen enough
        return _silenced()
    except OSError as error:
        advice = REFUSALS.get(error.errno or 0, "")
        if not advice and error.filename is None:  # a bug, not a file that cannot be read or written
            raise
        where = f": {error.filename}" if error.filename else ""
        sys.stderr.write(f"{error.strerror}{where}. {advice}".rstrip() + "\n")
        return _silenced()


def _code() -> object:
    from adapters.cli.app import app

    try:
        return app(standalone_mode=True)
    except HeadraceError as error:
        return _explain(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        return end.code


def _flushed(code: object) -> int:
    """Write what is still buffered while we can still hear that it cannot be."""
    sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _silenced() -> int:
    """End without another word: Python's own flush at exit must find nobody to complain to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _explain(error: HeadraceError) -> int:
    sentence = str(error).rstrip()
    advice = ADVICE.get(error.code, "") if isinstance(error, TransientError) else ""
    full_stop = "" if sentence.endswith((".", "!", "?")) else "."
    sys.stderr.write(f"{sentence[:1].upper()}{sentence[1:]}{full_stop} {advice}".rstrip() + "\n")
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), FAILED)


if __name__ == "__main__":
    main()
