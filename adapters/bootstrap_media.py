"""The composition root's part for media: its adapters, and its use cases bound to them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from adapters.images.maker import SandboxedPictureMaker
from adapters.settings import Settings
from domain.file_processing import RoutingReport, process_file, receive_file, receive_stored_file
from domain.media import PictureMaker
from domain.media_processing import (
    MediaReceipt,
    MediaReport,
    delete_media,
    make_picture,
    order_picture,
    receive_media,
)
from domain.ports import BlobStore, Transactions


@dataclass(frozen=True, slots=True)
class MediaWork:
    """What actors may do about media."""

    make_picture: Callable[..., MediaReport]
    process_file: Callable[..., RoutingReport]


@dataclass(frozen=True, slots=True)
class MediaProducer:
    """What callers may do about media."""

    receive_media: Callable[..., MediaReceipt]
    receive_file: Callable[..., MediaReceipt]
    receive_stored_file: Callable[..., MediaReceipt]
    order_picture: Callable[..., MediaReceipt | None]
    delete_media: Callable[..., bool]


def make_picture_maker(settings: Settings) -> SandboxedPictureMaker:
    """Build the sandboxed maker of pictures."""
    return SandboxedPictureMaker(
        memory_bytes=settings.media_memory_bytes,
        seconds=settings.media_wall_seconds,
        max_pixels=settings.media_max_pixels,
        max_frames=settings.media_max_frames,
        result_bytes=settings.media_max_bytes,
        processes=settings.media_processes,
    )


def bind_media_work(settings: Settings, transactions: Transactions, blobs: BlobStore, maker: PictureMaker) -> MediaWork:
    """Bind the workers' use cases to their ports."""
    return MediaWork(
        make_picture=partial(make_picture, transactions=transactions, blobs=blobs, maker=maker),
        process_file=partial(
            process_file, transactions=transactions, blobs=blobs, image_max_bytes=settings.media_max_bytes
        ),
    )


def bind_media_producer(settings: Settings, transactions: Transactions, blobs: BlobStore) -> MediaProducer:
    """Bind the callers' use cases to their ports."""
    return MediaProducer(
        receive_media=partial(
            receive_media, transactions=transactions, blobs=blobs, max_bytes=settings.media_max_bytes
        ),
        receive_file=partial(
            receive_file, transactions=transactions, blobs=blobs, max_bytes=settings.document_max_bytes
        ),
        receive_stored_file=partial(
            receive_stored_file, transactions=transactions, blobs=blobs, max_bytes=settings.document_max_bytes
        ),
        order_picture=partial(order_picture, transactions=transactions),
        delete_media=partial(delete_media, transactions=transactions, blobs=blobs),
    )
