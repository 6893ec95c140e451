"""The disk of the blobs is full."""

import os
import subprocess
from functools import cache
from tempfile import TemporaryDirectory

from tests.chaos.fault import fault, start_as_usual
from tests.chaos.processes import wait_until
from tests.chaos.site import Site

ROOM_BYTES = 512 * 1024


def mount(folder: str, size_bytes: int) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "chaos", folder]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def unmount(folder: str) -> None:
    subprocess.run(["umount", "--lazy", folder], check=False, capture_output=True)


@cache
def reason_to_skip() -> str:
    if os.getuid() != 0:
        return "only root can mount a small file system"
    with TemporaryDirectory() as folder:
        mounted = mount(folder, ROOM_BYTES)
        unmount(folder)
    return "" if mounted else "no file system can be mounted here"


def start_on_a_small_disk(site: Site) -> None:
    site.blob_folder.mkdir()
    mounted = mount(str(site.blob_folder), ROOM_BYTES + sum(4096 + len(each.content) for each in site.uploads))
    assert mounted, "the small file system was not mounted"
    site.cleanup.callback(unmount, str(site.blob_folder))
    start_as_usual(site)


@fault("disk full for blobs", start=start_on_a_small_disk, refuses_uploads=True, skip=reason_to_skip)
def fill_the_disk(site: Site) -> None:
    filler = site.blob_folder / "filler"
    with site.blow():
        fill(str(filler))
        refused = site.refused_uploads
        wait_until(lambda: site.refused_uploads >= refused + 5, seconds=20, what="5 refused uploads")
        filler.unlink()


def fill(path: str) -> None:
    """Write until there is no room for another byte."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (65536, 4096, 1):
            try:
                while os.write(file, b"\0" * size):
                    pass
            except OSError:
                continue
    finally:
        os.close(file)
