"""Blobs in a local folder, S3, Google Cloud Storage, Azure or memory, all through obstore."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from itertools import count
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING
from urllib.parse import unquote

from domain.blob_keys import is_key
from domain.errors import FailureCode, PermanentError, SettingsError, TransientError

if TYPE_CHECKING:
    from obstore.store import ObjectStore, RetryConfig, S3Config

SCHEMES = ("file://", "s3://", "gs://", "az://", "memory://")

#: S3 accepts parts of 5 MiB to 5 GiB, ten thousand of them: up to 80 GB a blob, some 25 MB of memory an upload.
_PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_A_TIME = 2
_KEYS_AT_A_TIME = 200

#: Short hiccups are bridged here, longer ones by the job's own retries.
_RETRIES: "RetryConfig" = {"max_retries": 3, "retry_timeout": timedelta(seconds=30)}


class ObstoreBlobStore:
    """Keeps blobs under `url`. Connects at first use; credentials come from the places each cloud's own tools look.

    Safe to share between threads.
    """

    def __init__(self, url: str) -> None:
        if not url.startswith(SCHEMES):
            raise SettingsError(f"BLOB_URL is wrong: must start with one of {', '.join(SCHEMES)}")
        self._url = url
        self._folder = Path(unquote(url.removeprefix("file://"))).absolute() if url.startswith("file://") else None

    def put(self, key: str, content: Iterable[bytes]) -> None:
        """Store the stream in parts; the blob appears whole, on disk, or not at all."""
        import obstore  # noqa: PLC0415

        source = _Source(content)
        with self._errors(_checked(key), source):
            obstore.put(self._store, key, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_A_TIME)
            if self._folder:
                _flush_to_disk(self._folder / key)

    @contextmanager
    def local_file(self, key: str) -> Iterator[Path]:
        """Lend the blob's own file, or a temporary copy if it is elsewhere."""
        if self._folder:
            yield _existing(self._folder / _checked(key), key)
            return
        with ExitStack() as until_read:
            with self._errors(_checked(key)):
                copy = until_read.enter_context(NamedTemporaryFile(prefix="headrace-blob-"))
                self._download(key, Path(copy.name))
            yield Path(copy.name)

    def delete(self, key: str) -> None:
        """Remove the blob, and what a process that died while it stored it has left; a missing one is fine."""
        import obstore  # noqa: PLC0415

        try:
            with self._errors(_checked(key)):
                if self._folder:
                    _remove_unfinished(self._folder / key)
                obstore.delete(self._store, key)
        except PermanentError:
            return

    def keys(self, prefix: str) -> Iterator[Sequence[str]]:
        """Yield the keys below a prefix, some hundred at a time; those of blobs that were never finished come last."""
        import obstore  # noqa: PLC0415

        with self._errors(_checked(prefix.rstrip("/"))):
            for found in obstore.list(self._store, prefix, chunk_size=_KEYS_AT_A_TIME):
                yield [str(each["path"]) for each in found]
            if self._folder and (unfinished := _unfinished(self._folder, prefix)):
                yield unfinished

    @cached_property
    def _store(self) -> "ObjectStore":
        from obstore.store import LocalStore, MemoryStore, from_url  # noqa: PLC0415 - not needed to start

        if self._folder:
            return LocalStore(self._folder, mkdir=True)
        if self._url.startswith("memory://"):
            return MemoryStore()
        return from_url(self._url, retry_config=_RETRIES, **self._options())

    def _options(self) -> "S3Config":
        """Delete one object at a time on S3: some servers that speak it know no bulk deletes, and we need none."""
        return {"disable_bulk_delete": True} if self._url.startswith("s3://") else {}

    def _download(self, key: str, to: Path) -> None:
        import obstore  # noqa: PLC0415

        with to.open("wb") as file:
            for part in obstore.get(self._store, key).stream():
                file.write(part)

    @contextmanager
    def _errors(self, key: str, source: "_Source | None" = None) -> Iterator[None]:
        """Translate what the store raises; what the caller's own stream raised passes through."""
        from obstore.exceptions import BaseError  # noqa: PLC0415

        try:
            yield
        except FileNotFoundError as error:
            if source and source.error:
                raise
            raise _missing(key) from error
        except (BaseError, OSError) as error:
            if source and source.error:
                raise
            raise _unavailable(error) from error


class _Source:
    """The stream to store; remembers whether it was the stream that failed, not the store."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self._content = content
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._content
        except BaseException as error:
            self.error = error
            raise


def _checked(key: str) -> str:
    if not is_key(key):
        raise ValueError(f"not a blob key: {key[:100]!r}")
    return key


def _existing(file: Path, key: str) -> Path:
    if not file.is_file():
        raise _missing(key)
    return file


def _remove_unfinished(file: Path) -> None:
    """Remove the files in which a folder's store collects a blob before it gets its name: `<name>#1` and so on."""
    with suppress(FileNotFoundError):
        for number in count(1):
            file.with_name(f"{file.name}#{number}").unlink()


def _unfinished(folder: Path, prefix: str) -> list[str]:
    files = (folder / prefix).rglob("*#*")
    return sorted({str(file.relative_to(folder)).rpartition("#")[0] for file in files})


def _flush_to_disk(file: Path) -> None:
    """Wait until file and name survive a power cut: the document's row is committed next."""
    for path in (file, file.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _missing(key: str) -> PermanentError:
    message = f"The uploaded file is no longer in storage ({key}). Upload it again."
    return PermanentError(FailureCode.BLOB_MISSING, message)


def _unavailable(error: Exception) -> TransientError:
    words = str(error).split("\n", 1)[0][:300]
    return TransientError(FailureCode.BLOB_UNAVAILABLE, f"The blob store does not work: {words}")
