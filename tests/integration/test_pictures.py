"""Pictures come out upright, in sRGB, bare of metadata and within their limits; bombs stay inside the sandbox."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms

from adapters.images.maker import SERVER, SandboxedPictureMaker
from adapters.sandbox.fork_server import Target
from domain.errors import FailureCode, HeadraceError, PermanentError, TransientError
from domain.media import Format, Picture, Recipe, parse_recipe, thumbnail_recipe
from tests import pictures
from tests.builders import a_pdf
from tests.pictures import (
    BLUE,
    GREEN,
    RED,
    WHITE,
    a_photo,
    a_png_bomb,
    an_animation,
    corners,
    is_like,
    noise,
    pixel,
    saved,
)

LIMITS = {
    "memory_bytes": 1 << 30,
    "seconds": 20,
    "max_pixels": 20_000_000,
    "max_frames": 50,
    "result_bytes": 10 << 20,
    "processes": 2,
}

CORPUS = Path(os.environ.get("CORPUS_DIR", "nowhere")) / "media"


def still_wanted() -> None:
    """It is."""


@pytest.fixture(scope="module")
def maker() -> Iterator[SandboxedPictureMaker]:
    maker = SandboxedPictureMaker(**LIMITS)  # type: ignore[arg-type]
    with maker.kept_warm():
        yield maker


@pytest.fixture
def make(maker: SandboxedPictureMaker, tmp_path: Path) -> Any:
    def make(content: bytes, recipe: Recipe | None = None, **written: Any) -> Picture:
        file = tmp_path / "source"
        file.write_bytes(content)
        return maker.make(file, recipe or parse_recipe(written), still_wanted=still_wanted)

    return make


def opened(picture: Picture) -> Image.Image:
    image = Image.open(BytesIO(picture.content))
    assert image.format == picture.format.upper()
    assert image.size == (picture.width, picture.height)
    return image


# What comes out


@pytest.mark.parametrize("written", [*(each.upper() for each in Format), "TIFF"])
@pytest.mark.parametrize("result", list(Format))
def test_every_format_becomes_every_other(make: Any, written: str, result: Format) -> None:
    picture = make(saved(corners(), written), thumbnail_recipe(32, 32, file_format=result))

    assert opened(picture).size == (32, 16)
    assert picture.format is result
    assert is_like(pixel(picture.content, 0.2, 0.2), RED, within=60)
    assert is_like(pixel(picture.content, 0.8, 0.8), WHITE, within=60)


#: Where the colours of `corners` are, once a camera held like this has been allowed for: top left, top right.
UPRIGHT = {
    1: (RED, GREEN),
    2: (GREEN, RED),
    3: (WHITE, BLUE),
    4: (BLUE, WHITE),
    5: (RED, BLUE),
    6: (BLUE, RED),
    7: (WHITE, GREEN),
    8: (GREEN, WHITE),
}


@pytest.mark.parametrize("orientation", list(UPRIGHT))
def test_pictures_stand_upright(make: Any, orientation: int) -> None:
    picture = make(a_photo(orientation))

    assert (picture.width, picture.height) == ((64, 32) if orientation < 5 else (32, 64))
    top_left, top_right = UPRIGHT[orientation]
    assert is_like(pixel(picture.content, 0.25, 0.25), top_left)
    assert is_like(pixel(picture.content, 0.75, 0.25), top_right)
    assert opened(picture).getexif().get(pictures.ORIENTATION, 1) == 1


@pytest.mark.parametrize("result", list(Format))
def test_metadata_does_not_pass(make: Any, result: Format) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = a_photo(icc_profile=profile, xmp=b"<x>secret xmp</x>")
    assert source.count(b"secret") == 3

    picture = make(source, format=result)

    assert b"secret" not in picture.content
    assert not {"exif", "icc_profile", "xmp", "comment"} & opened(picture).info.keys()


def test_cmyk_becomes_srgb(make: Any) -> None:
    picture = make(saved(corners(mode="CMYK"), "JPEG", quality=95))

    assert opened(picture).mode == "RGB"
    assert is_like(pixel(picture.content, 0.25, 0.25), RED)


def test_a_colour_profile_is_carried_out(make: Any) -> None:
    """In a linear profile the middle grey of sRGB has a value of 55."""
    lab = ImageCms.createProfile("LAB")
    profile = ImageCms.ImageCmsProfile(lab).tobytes()
    white = Image.new("LAB", (16, 16), (255, 128, 128))

    picture = make(saved(white, "TIFF", icc_profile=profile), format="png")

    assert is_like(pixel(picture.content, 0.5, 0.5), WHITE, within=6)


def test_sixteen_bits_become_eight(make: Any) -> None:
    picture = make(saved(Image.new("I;16", (16, 16), 32768), "PNG"))

    assert opened(picture).mode == "L"
    assert abs(pixel(picture.content, 0.5, 0.5)[0] - 128) <= 1


def test_transparency_stays_where_it_can_and_is_white_where_not(make: Any) -> None:
    source = saved(Image.new("RGBA", (16, 16), (0, 0, 0, 0)))

    assert opened(make(source, format="webp")).convert("RGBA").getpixel((8, 8))[3] == 0  # type: ignore[index]
    assert is_like(pixel(make(source, format="jpeg").content, 0.5, 0.5), WHITE)


@pytest.mark.parametrize("written", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_kept_or_its_first_frame(make: Any, written: str) -> None:
    source = an_animation(written=written)

    assert make(source, animated=True).frames == opened(make(source, animated=True)).n_frames == 4
    assert opened(make(source, animated=True)).info["loop"] == 3
    assert make(source).frames == getattr(opened(make(source)), "n_frames", 1) == 1
    assert make(source, animated=True, format="jpeg").frames == 1


def test_operations_are_carried_out_in_order(make: Any) -> None:
    first = [{"op": "crop", "width": 32, "height": 32}, {"op": "rotate", "degrees": 90}, {"op": "flip"}]
    crop, rotate, flip = first
    source = saved(corners(64, 64))

    assert is_like(pixel(make(source, operations=first).content, 0.5, 0.5), RED)
    turned = make(source, operations=[rotate, crop, flip])
    assert is_like(pixel(turned.content, 0.5, 0.5), BLUE)
    assert opened(make(source, operations=[{"op": "grayscale"}])).mode == "L"


@pytest.mark.parametrize(("fit", "size"), [("inside", (50, 25)), ("cover", (50, 50)), ("stretch", (50, 50))])
def test_a_picture_is_fitted(make: Any, fit: str, size: tuple[int, int]) -> None:
    picture = make(saved(corners(200, 100)), thumbnail_recipe(50, 50, fit=fit))

    assert (picture.width, picture.height) == size


def test_inside_never_enlarges(make: Any) -> None:
    assert make(saved(corners()), thumbnail_recipe(500, 500)).width == 64


def test_pages_are_drawn(make: Any) -> None:
    picture = make(a_pdf("first", "second"), thumbnail_recipe(256, 256, page=2))

    assert (picture.format, picture.height) == (Format.WEBP, 256)
    assert is_like(pixel(picture.content, 0.9, 0.9), WHITE)


# Sizes


@pytest.mark.parametrize("most", [2_000, 8_000])
@pytest.mark.parametrize("result", list(Format))
def test_a_target_size_is_met(make: Any, result: Format, most: int) -> None:
    picture = make(saved(noise()), format=result, max_bytes=most)

    assert most / 10 < len(picture.content) <= most


@pytest.mark.parametrize("written", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("quality", [5, 95])
def test_an_optimized_picture_is_never_larger(make: Any, written: str, quality: int) -> None:
    options = {} if written in ("PNG", "GIF") else {"quality": quality}
    source = saved(noise(), written, **options)

    picture = make(source, never_larger=True, quality=90)

    assert len(picture.content) <= len(source)
    assert (picture.width, picture.height) == (200, 150)
    assert picture.unchanged is (picture.content == source)


TINY = saved(Image.new("RGB", (1, 1)))


@pytest.mark.parametrize(
    ("source", "is_kept"),
    [
        (TINY, True),
        (TINY + b"secret", False),
        (TINY[:-12] + pictures.chunk(b"prVt", b"secret") + TINY[-12:], False),
        (saved(Image.new("RGB", (1, 1)), "GIF", comment=b"secret"), False),
    ],
)
def test_the_source_is_kept_only_if_it_is_nothing_but_a_picture(make: Any, source: bytes, is_kept: bool) -> None:
    picture = make(source, never_larger=True, max_bytes=len(source))

    assert b"secret" not in picture.content
    assert len(picture.content) <= len(source)
    if is_kept:
        assert (picture.width, picture.height) == (1, 1)


def test_what_cannot_be_met_is_said(make: Any) -> None:
    with pytest.raises(PermanentError, match=r"takes \d+ bytes however poor") as caught:
        make(saved(noise()), format="avif", max_bytes=20)

    assert caught.value.code is FailureCode.TARGET_UNREACHABLE


# What is refused


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", FailureCode.NOT_AN_IMAGE),
        (b"hello" * 100, FailureCode.NOT_AN_IMAGE),
        (saved(corners(), "BMP"), FailureCode.NOT_AN_IMAGE),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", FailureCode.NOT_AN_IMAGE),
        (saved(noise(), "JPEG")[:3000], FailureCode.IMAGE_DAMAGED),
        (saved(noise(), "PNG")[:3000], FailureCode.IMAGE_DAMAGED),
        (saved(noise(), "WEBP")[:3000], FailureCode.IMAGE_DAMAGED),
        (saved(noise(), "GIF")[:3000], FailureCode.IMAGE_DAMAGED),
        (saved(noise(), "AVIF")[:3000], FailureCode.IMAGE_DAMAGED),
        (saved(noise(), "TIFF")[:3000], FailureCode.IMAGE_DAMAGED),
        (b"%PDF-1.7 nothing", FailureCode.PDF_DAMAGED),
        (a_png_bomb(5000), FailureCode.TOO_LARGE),
        (an_animation(60), FailureCode.TOO_LARGE),
    ],
)
def test_what_is_no_good_ends_with_a_code(make: Any, content: bytes, code: FailureCode) -> None:
    with pytest.raises(PermanentError, match=r"^[A-Z].*\.$") as caught:
        make(content, animated=True)

    assert caught.value.code is code


def test_a_crop_beyond_the_picture_is_refused(make: Any) -> None:
    with pytest.raises(PermanentError, match="64 by 32"):
        make(saved(corners()), operations=[{"op": "crop", "width": 65, "height": 1}])


def test_a_page_beyond_the_last_is_refused(make: Any) -> None:
    with pytest.raises(PermanentError, match="no page 3: the document has 1"):
        make(a_pdf("only"), page=3)


# The sandbox


def test_a_bomb_ends_within_its_memory(tmp_path: Path) -> None:
    file = tmp_path / "bomb.png"
    file.write_bytes(a_png_bomb(10_000))
    assert file.stat().st_size < 1 << 20
    limits = LIMITS | {"memory_bytes": 256 << 20, "max_pixels": 200_000_000}

    # In a program of its own, whose descendants are the server and the sandboxed child, and no other test's.
    done = subprocess.run(
        [sys.executable, "-c", MAKE_AND_TELL_THE_PEAK, str(file), json.dumps(limits)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    told = json.loads(done.stdout)
    assert told["code"] == FailureCode.PARSE_MEMORY
    assert "more than 256 MiB of memory" in told["message"]
    assert (64 << 20) < told["peak_bytes"] < (256 << 20)


#: Once the server is gone, its children count as this program's: the largest of all of them is told.
MAKE_AND_TELL_THE_PEAK = """
import json, resource, sys
from pathlib import Path
from adapters.images.maker import SERVER, SandboxedPictureMaker
from domain.errors import PermanentError
from domain.media import parse_recipe
maker = SandboxedPictureMaker(**json.loads(sys.argv[2]))
try:
    maker.make(Path(sys.argv[1]), parse_recipe({}), still_wanted=lambda: None)
except PermanentError as error:
    told = {"code": error.code, "message": error.message}
server = SERVER._process
SERVER.close()
server.wait()
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
print(json.dumps(told | {"peak_bytes": peak}))
"""


@pytest.mark.parametrize(
    ("target", "kind", "code"),
    [
        (pictures.crash, PermanentError, FailureCode.PARSER_CRASHED),
        (pictures.devour, PermanentError, FailureCode.PARSE_MEMORY),
        (pictures.hang, PermanentError, FailureCode.PARSE_TIMEOUT),
        (pictures.be_killed, TransientError, FailureCode.INTERNAL_ERROR),
        (pictures.lie_about_size, PermanentError, FailureCode.PARSER_CRASHED),
        (pictures.send_garbage, PermanentError, FailureCode.PARSER_CRASHED),
        (pictures.send_too_much, PermanentError, FailureCode.PARSER_CRASHED),
        (pictures.open_a_socket, PermanentError, FailureCode.PARSER_CRASHED),
    ],
)
def test_the_end_of_a_child_has_a_code(target: Target, kind: type[HeadraceError], code: FailureCode) -> None:
    maker = SandboxedPictureMaker(**LIMITS | {"seconds": 1}, target=target)  # type: ignore[arg-type]

    with pytest.raises(kind, match=r"^[A-Z].*\.$") as caught:
        maker.make(Path("any"), parse_recipe({}), still_wanted=still_wanted)

    assert caught.value.code is code  # type: ignore[attr-defined]


def test_a_picture_that_nobody_wants_any_more_is_not_waited_for() -> None:
    class UnwantedError(Exception):
        pass

    def unwanted() -> None:
        raise UnwantedError

    maker = SandboxedPictureMaker(**LIMITS, target=pictures.hang)  # type: ignore[arg-type]
    began = time.monotonic()
    with pytest.raises(UnwantedError):
        maker.make(Path("any"), parse_recipe({}), still_wanted=unwanted)

    assert time.monotonic() - began < 5


def test_a_missing_file_is_tried_again(maker: SandboxedPictureMaker) -> None:
    with pytest.raises(TransientError):
        maker.make(Path("nowhere/at/all"), parse_recipe({}), still_wanted=still_wanted)


def test_the_server_is_the_only_process_that_stays(make: Any) -> None:
    make(saved(corners()))

    assert SERVER.pid is not None


#: Cut off, empty, or made by a fuzzer. Everything else in the corpus can be shown.
DAMAGED = frozenset({
    "libvips__truncated.gif", "libvips__truncated.jpg", "pillow__broken.png",
    "pillow__crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif",
})  # fmt: skip
OF_99_FRAMES = "libvips__big-height.webp"


@pytest.mark.skipif(not CORPUS.is_dir(), reason="CORPUS_DIR names no corpus")
@pytest.mark.parametrize(
    "written", [{"never_larger": True, "animated": True}, {"format": "avif", "max_bytes": 5000}, {"format": "webp"}]
)
def test_every_image_of_the_corpus_ends_well_or_with_a_code(maker: SandboxedPictureMaker, written: Any) -> None:
    """An image that made its decoder crash, or ate its memory or time, would show as another code."""
    files = sorted(each for each in CORPUS.iterdir() if each.suffix != ".tsv")
    must_be = {file.name: FailureCode.IMAGE_DAMAGED if file.name in DAMAGED else "well" for file in files}
    if written.get("animated"):
        must_be[OF_99_FRAMES] = FailureCode.TOO_LARGE

    assert {file.name: ending(maker, file, parse_recipe(written)) for file in files} == must_be


def ending(maker: SandboxedPictureMaker, file: Path, recipe: Recipe) -> str:
    try:
        opened(maker.make(file, recipe, still_wanted=still_wanted)).load()
    except PermanentError as error:
        return error.code
    return "well"
