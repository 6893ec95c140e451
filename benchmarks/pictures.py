"""Thumbnails: ours in sandboxed children against a plain Pillow loop and a plain libvips loop, in one run.

    make bench-media      (CORPUS=folder adds the images of its folder media)

Every contender makes a WebP of at most 256 by 256 pixels of the same files, upright and in sRGB, one after the other in
a process of its own; `peak` is the most memory that it and its children held together, sampled every 20 ms (PSS:
what processes share is counted once). libvips may use two threads, as it would; `libvips, 1 thread` may not.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

SIDE = 256
CONTENDERS = ("headrace", "pillow", "libvips", "libvips, 1 thread")
SAMPLE_SECONDS = 0.02


def main() -> None:
    """Measure every contender three times in turn and print the median of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--contender", choices=CONTENDERS)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.contender:
        print(json.dumps(work(options.contender, sorted(options.folder.iterdir()))))
        return
    with tempfile.TemporaryDirectory() as folder:
        sets = make_files(Path(folder), quick=options.quick)
        print("| files | contender | images/s | ms an image | peak MB | made | refused |\n| --- " + "| --- " * 6 + "|")
        for name, place in sets.items():
            runs: dict[str, list[dict[str, float]]] = {contender: [] for contender in CONTENDERS}
            for _ in range(1 if options.quick else 3):
                for contender in CONTENDERS:
                    runs[contender].append(measure(contender, place))
            for contender, found in runs.items():
                told = sorted(found, key=lambda run: run["seconds"])[len(found) // 2]
                count = told["made"] + told["refused"]
                print(
                    f"| {name} | {contender} | {count / told['seconds']:.1f} | {told['seconds'] / count * 1000:.1f} "
                    f"| {max(run['peak'] for run in found) / 1e6:.0f} | {told['made']:.0f} | {told['refused']:.0f} |"
                )


def make_files(folder: Path, *, quick: bool) -> dict[str, Path]:
    """Write the files that are measured: photos, drawings, and the corpus if there is one."""
    from PIL import Image

    count = 3 if quick else 20
    places = {name: folder / name for name in ("photos of 12 megapixels", "PNG of 4 megapixels")}
    for place in places.values():
        place.mkdir()
    soft = Image.effect_noise((1000, 750), 60).resize((4000, 3000), Image.Resampling.BICUBIC)
    photo = Image.merge("RGB", (soft, soft.rotate(180), soft.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    exif = Image.Exif()
    exif[0x0112] = 6
    for number in range(count):
        photo.save(places["photos of 12 megapixels"] / f"{number}.jpg", quality=88, exif=exif)
        photo.resize((2400, 1700)).save(places["PNG of 4 megapixels"] / f"{number}.png", compress_level=1)
    corpus = Path(os.environ.get("CORPUS_DIR", "nowhere")) / "media"
    if corpus.is_dir():
        place = places["corpus"] = folder / "corpus"
        place.mkdir()
        for turn in range(1 if quick else 10):
            for file in corpus.iterdir():
                if file.suffix != ".tsv":
                    (place / f"{turn}-{file.name}").symlink_to(file)
    return places


def measure(contender: str, folder: Path) -> dict[str, float]:
    """Run one contender and watch its memory."""
    environment = os.environ | ({"VIPS_CONCURRENCY": "1"} if contender.endswith("1 thread") else {})
    command = [sys.executable, "-m", "benchmarks.pictures", "--contender", contender, "--folder", str(folder)]
    with (
        tempfile.TemporaryFile() as said,  # libvips has a word on every damaged file
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=environment) as process,
    ):
        peak, stop = [0], threading.Event()
        watcher = threading.Thread(target=watch, args=(process.pid, peak, stop))
        watcher.start()
        out, _ = process.communicate()
        stop.set()
        watcher.join()
        if process.returncode:
            said.seek(0)
            sys.exit(f"{contender} failed:\n{said.read().decode(errors='replace')}")
    return json.loads(out) | {"peak": peak[0]}


def watch(pid: int, peak: list[int], stop: threading.Event) -> None:
    """Note the most memory that a process and its descendants hold together."""
    while not stop.wait(SAMPLE_SECONDS):
        peak[0] = max(peak[0], sum(map(memory_of, family_of(pid))))


def family_of(pid: int) -> Sequence[int]:
    """Return a process and everything below it."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found.extend(map(int, children.read_text().split()))
            except OSError:
                continue
    return found


def memory_of(pid: int) -> int:
    """Return a process's share of memory, in bytes; 0 once it is gone."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def work(contender: str, files: Sequence[Path]) -> dict[str, float]:
    """Make the thumbnails in this process; the first one, which loads everything, is not timed."""
    makers: dict[str, Callable[[], Callable[[Path], bytes]]] = {"headrace": with_headrace, "pillow": with_pillow}
    thumbnail = makers.get(contender, with_libvips)()
    attempt(thumbnail, files[0])
    began = time.perf_counter()
    made = sum(attempt(thumbnail, file) for file in files)
    return {"seconds": time.perf_counter() - began, "made": made, "refused": len(files) - made}


def attempt(thumbnail: Callable[[Path], bytes], file: Path) -> bool:
    """Make one thumbnail; False when the file is refused."""
    try:
        return bool(thumbnail(file))
    except Exception:  # each library has errors of its own
        return False


def with_headrace() -> Callable[[Path], bytes]:
    """Return what a worker does, from the file to the encoded picture."""
    from adapters.images.maker import SandboxedPictureMaker
    from domain.media import thumbnail_recipe

    maker = SandboxedPictureMaker(
        memory_bytes=1 << 30,
        seconds=60,
        max_pixels=100_000_000,
        max_frames=1000,
        result_bytes=50 << 20,
        processes=2,
    )
    maker.kept_warm().__enter__()  # for as long as this process lives
    recipe = thumbnail_recipe(SIDE, SIDE)
    return lambda file: maker.make(file, recipe, still_wanted=lambda: None).content


def with_pillow() -> Callable[[Path], bytes]:
    """Return what its documentation recommends."""
    from PIL import Image, ImageCms, ImageOps

    srgb = ImageCms.createProfile("sRGB")

    def thumbnail(file: Path) -> bytes:
        result = BytesIO()
        with Image.open(file) as image:
            image.thumbnail((SIDE, SIDE))  # reads JPEG at a lower resolution by itself
            upright = ImageOps.exif_transpose(image)
            profile = image.info.get("icc_profile")
            if profile and upright.mode in ("RGB", "CMYK"):
                source = ImageCms.ImageCmsProfile(BytesIO(profile))
                upright = ImageCms.profileToProfile(upright, source, srgb, outputMode="RGB") or upright
            upright.convert("RGBA" if upright.has_transparency_data else "RGB").save(result, "WEBP", quality=80)
        return result.getvalue()

    return thumbnail


def with_libvips() -> Callable[[Path], bytes]:
    """Return what its documentation recommends."""
    import pyvips

    def thumbnail(file: Path) -> bytes:
        image = pyvips.Image.thumbnail(
            str(file), SIDE, height=SIDE, size="down", output_profile="srgb", fail_on="truncated"
        )
        return bytes(image.write_to_buffer(".webp", Q=80, keep="none"))

    return thumbnail


if __name__ == "__main__":
    main()
