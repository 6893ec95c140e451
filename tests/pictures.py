"""Pictures for tests, made on the spot, and children that misbehave. Children import this module by its name."""

import ctypes
import os
import socket
import struct
import zlib
from io import BytesIO
from typing import Any

from PIL import Image

from adapters.images.protocol import Order
from adapters.sandbox.confinement import close_the_door, confine
from adapters.sandbox.frames import HEADER, OUT_OF_MEMORY

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION = 0x0112


def saved(image: Image.Image, written: str = "PNG", **options: Any) -> bytes:
    """Encode an image."""
    file = BytesIO()
    image.save(file, format=written, **options)
    return file.getvalue()


def corners(width: int = 64, height: int = 32, mode: str = "RGB") -> Image.Image:
    """A picture whose top left is red, top right green, bottom left blue and bottom right white."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image.convert(mode)


def noise(width: int = 200, height: int = 150) -> Image.Image:
    """A picture that no encoder makes small, the same every time."""
    image = Image.effect_noise((width, height), 80)
    return Image.merge("RGB", (image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), image.rotate(180)))


def a_photo(orientation: int = 1, **options: Any) -> bytes:
    """A JPEG with EXIF that says how the camera was held and by whom."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[0x010E] = "secret words"
    return saved(corners(), "JPEG", exif=exif, quality=95, comment=b"secret comment", **options)


def an_animation(frames: int = 4, written: str = "GIF") -> bytes:
    """Frames of one colour each."""
    images = [Image.new("RGB", (32, 32), (4 * number, 255 - 4 * number, 60 * (number % 4))) for number in range(frames)]
    return saved(images[0], written, save_all=True, append_images=images[1:], duration=120, loop=3)


def a_png_bomb(side: int) -> bytes:
    """A few kilobytes that decode to so many by so many white pixels."""
    row = b"\0" + b"\xff" * (side * 3)
    squeeze = zlib.compressobj(9)
    data = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    header = struct.pack("!IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))


def pixel(content: bytes, x: float, y: float) -> tuple[int, ...]:
    """Return the colour at a place that is given as shares of width and height."""
    with Image.open(BytesIO(content)) as image:
        wide = image.convert("RGB")
        found = wide.getpixel((int(x * wide.width), int(y * wide.height)))
    assert isinstance(found, tuple)
    return found


def is_like(found: tuple[int, ...], colour: tuple[int, ...], *, within: int = 40) -> bool:
    """Tell whether two colours differ by no more than lossy encoders make them."""
    return all(abs(a - b) <= within for a, b in zip(found, colour, strict=True))


# Children


def crash(_: int, order: Order) -> None:
    ctypes.string_at(0)


def devour(_: int, order: Order) -> None:
    confine(memory_bytes=order.limits.memory_bytes, cpu_seconds=order.limits.cpu_seconds)
    try:
        bytearray(order.limits.memory_bytes * 2)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def hang(_: int, order: Order) -> None:
    import signal

    signal.setitimer(signal.ITIMER_REAL, order.limits.wall_seconds)
    ctypes.PyDLL(None).sleep(60)  # in C, without letting go of the interpreter lock


def be_killed(_: int, order: Order) -> None:
    os.kill(os.getpid(), 9)


def lie_about_size(results: int, order: Order) -> None:
    os.write(results, HEADER.pack(b"D", 4) + b"data")


def send_garbage(results: int, order: Order) -> None:
    os.write(results, HEADER.pack(b"M", 2) + b"{}")


def send_too_much(results: int, order: Order) -> None:
    os.write(results, HEADER.pack(b"M", 2**31))


def open_a_socket(_: int, order: Order) -> None:
    close_the_door()
    socket.socket()
