"""One suite for every place that blobs can live in: a folder, memory, and S3 (a local server that speaks it)."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest

from adapters.blobs.store import ObstoreBlobStore
from domain.errors import FailureCode, PermanentError, SettingsError, TransientError
from domain.ports import BlobStore

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def s3_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    localbucket = pytest.importorskip("localbucket")
    root = tmp_path_factory.mktemp("s3")
    (root / "headrace").mkdir()
    handler = type("Handler", (localbucket.S3Handler,), {"data_root": root})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=partial(server.serve_forever, 0.05), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", root
    server.shutdown()
    server.server_close()


@pytest.fixture(params=["file", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    match request.param:
        case "file":
            return ObstoreBlobStore(f"file://{tmp_path}/new/folder")
        case "memory":
            return ObstoreBlobStore("memory://")
        case _:
            return s3_store(request.getfixturevalue("s3_root")[0], monkeypatch)


def s3_store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> ObstoreBlobStore:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "eu-test-1",
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return ObstoreBlobStore(f"s3://headrace/{uuid4()}")


def read(store: BlobStore, key: str) -> bytes:
    with store.local_file(key) as file:
        return file.read_bytes()


def assert_missing(store: BlobStore, key: str) -> None:
    with pytest.raises(PermanentError) as caught, store.local_file(key):
        pass
    assert caught.value.code is FailureCode.BLOB_MISSING


# What every store keeps


@pytest.mark.parametrize("parts", [[], [b""], [b"a"], [b"a", b"", b"bc"], [b"x" * MEGABYTE] * 18 + [b"end"]])
def test_what_was_put_is_lent(store: BlobStore, parts: list[bytes]) -> None:
    store.put("workspace/document.pdf", iter(parts))
    assert read(store, "workspace/document.pdf") == b"".join(parts)


def test_a_second_put_replaces(store: BlobStore) -> None:
    store.put("a", [b"first, longer"])
    store.put("a", [b"second"])
    assert read(store, "a") == b"second"


@pytest.mark.parametrize("megabytes", [0, 1, 20])
def test_a_stream_that_fails_leaves_nothing(store: BlobStore, megabytes: int) -> None:
    with pytest.raises(PermanentError, match="too big"):
        store.put("torn", failing(megabytes, PermanentError(FailureCode.TOO_LARGE, "too big")))
    assert_missing(store, "torn")


@pytest.mark.parametrize("error", [FileNotFoundError("mine"), OSError("mine"), ValueError("mine"), KeyboardInterrupt()])
def test_the_streams_own_error_passes_through(store: BlobStore, error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        store.put("torn", failing(1, error))
    assert caught.value is error


def test_a_stream_that_fails_leaves_the_old_blob(store: BlobStore) -> None:
    store.put("kept", [b"old"])
    with pytest.raises(ValueError, match="torn"):
        store.put("kept", failing(20, ValueError("torn")))
    assert read(store, "kept") == b"old"


def test_a_deleted_blob_is_missing(store: BlobStore) -> None:
    store.put("a/b", [b"1"])
    store.delete("a/b")
    assert_missing(store, "a/b")


def test_deleting_twice_is_fine(store: BlobStore) -> None:
    store.put("a/b", [b"1"])
    store.delete("a/b")
    store.delete("a/b")
    store.delete("never/was")


def test_the_file_is_lent_for_the_time_of_the_context(store: BlobStore) -> None:
    store.put("a", [b"1"])
    with store.local_file("a") as first, store.local_file("a") as second:
        assert first.read_bytes() == second.read_bytes() == b"1"
    assert read(store, "a") == b"1"


def test_the_borrowers_error_passes_through(store: BlobStore) -> None:
    store.put("a", [b"1"])
    mine = FileNotFoundError("mine")
    with pytest.raises(FileNotFoundError) as caught, store.local_file("a"):
        raise mine
    assert caught.value is mine


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/.", ".hidden", "a\\b", "a#1", "a b", "a\x00", "a\n", "é"]
)
def test_a_key_that_is_a_path_in_disguise_is_refused(store: BlobStore, key: str) -> None:
    for use in (lambda: store.put(key, [b"1"]), lambda: store.delete(key), lambda: read(store, key)):
        with pytest.raises(ValueError, match="not a blob key"):
            use()


# Each place's own


def test_a_folder_lends_its_own_file(tmp_path: Path) -> None:
    store = ObstoreBlobStore(f"file://{tmp_path}")
    store.put("a/b", [b"1"])
    with store.local_file("a/b") as file:
        assert file == tmp_path / "a" / "b"


def test_a_stream_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="torn"):
        ObstoreBlobStore(f"file://{tmp_path}").put("a/b", failing(20, ValueError("torn")))
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_a_relative_folder_is_below_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = ObstoreBlobStore("file://./blobs/here")
    monkeypatch.chdir("/")
    store.put("a", [b"1"])
    assert (tmp_path / "blobs" / "here" / "a").read_bytes() == b"1"


def test_a_full_or_broken_folder_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"not a folder")
    for url, key in ((f"file://{tmp_path}/file", "a"), (f"file://{tmp_path}", "file/a")):
        with pytest.raises(TransientError) as caught:
            ObstoreBlobStore(url).put(key, [b"1"])
        assert caught.value.code is FailureCode.BLOB_UNAVAILABLE
        assert caught.value.__cause__ is not None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_for_the_copy_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = ObstoreBlobStore("memory://")
    store.put("a", [b"1" * MEGABYTE])
    monkeypatch.setattr("tempfile.tempdir", "/dev/full")
    with pytest.raises(TransientError), store.local_file("a"):
        pass


def test_a_copy_is_removed_after_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = ObstoreBlobStore("memory://")
    store.put("a", [b"1"])
    with store.local_file("a") as file:
        assert file.parent == tmp_path
    assert_missing(store, "b")
    assert list(tmp_path.iterdir()) == []


def test_an_upload_to_s3_that_fails_is_aborted(s3_root: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, root = s3_root
    uploads = root / ".localbucket-uploads"
    seen: list[Path] = []

    def torn() -> Iterator[bytes]:
        yield from [b"x" * MEGABYTE] * 20
        seen.extend(uploads.glob("*/upload.json"))
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        s3_store(endpoint, monkeypatch).put("torn", torn())
    assert seen
    # A part on its way when S3 is asked to abort may still arrive; what makes it an upload must be gone.
    assert list(uploads.glob("*/upload.json")) == []


def test_s3_that_is_not_there_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    store = s3_store("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(TransientError) as caught, store.local_file("a"):
        pass
    assert caught.value.code is FailureCode.BLOB_UNAVAILABLE


def test_an_unknown_scheme_stops_the_start() -> None:
    with pytest.raises(SettingsError, match="BLOB_URL"):
        ObstoreBlobStore("ftp://host/blobs")


def failing(megabytes: int, error: BaseException) -> Iterator[bytes]:
    for _ in range(megabytes):
        yield b"x" * MEGABYTE
    raise error


DIE_WHILE_STORING = """
import os, sys
from adapters.blobs.store import ObstoreBlobStore

def content():
    for _ in range(40):
        yield bytes(1 << 20)
    os.kill(os.getpid(), 9)

ObstoreBlobStore(sys.argv[1]).put("workspace/blob", content())
"""


def test_what_a_killed_process_was_storing_can_be_found_and_removed(tmp_path: Path) -> None:
    url = f"file://{tmp_path}"
    done = subprocess.run([sys.executable, "-c", DIE_WHILE_STORING, url], check=False, timeout=60)
    assert done.returncode == -9
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["blob#1"]

    store = ObstoreBlobStore(url)
    assert [key for keys in store.keys("workspace/") for key in keys] == ["workspace/blob"]
    store.delete("workspace/blob")

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
