"""What watchers may ask for, what they are told, and who gets it."""

import asyncio
import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from adapters.api.live.admission import read_wish
from adapters.api.live.endings import SLOW, WatchEnded
from adapters.api.live.frames import frame_of
from adapters.api.live.hub import QUEUE_EVENTS, Hub, Watcher
from domain.live import (
    WORKSPACE_CHANNEL,
    Channel,
    ChannelKind,
    Family,
    LiveEvent,
    LoggedEvent,
    UnknownChannelError,
    parse_channel,
    present,
)

WORKSPACE, STRANGER = UUID(int=1), UUID(int=2)


def logged(event: str, **fields) -> LoggedEvent:
    row = {
        "id": 7, "workspace_id": WORKSPACE, "task_id": uuid4(), "document_id": None, "data": {},
        "at": datetime(2026, 11, 22, tzinfo=UTC), "actor": "noop", "queue": "media", "goes_on": False,
    }  # fmt: skip
    return LoggedEvent(event=event, **row | fields)


def an_event(number: int, *, workspace_id: UUID = WORKSPACE, channels=(WORKSPACE_CHANNEL,)) -> LiveEvent:
    return LiveEvent(number, "task.queued", workspace_id, tuple(channels), {"status": "queued"})


def a_hub(**limits: int) -> Hub:
    return Hub(**{"most_watchers": 10, "most_per_workspace": 10} | limits)


def a_watcher(hub: Hub, *, workspace_id: UUID = WORKSPACE, channel: Channel = WORKSPACE_CHANNEL) -> Watcher:
    watcher = Watcher(workspace_id, uuid4(), channel)
    hub.enter(watcher)
    hub.listen(watcher)
    return watcher


def ids(watcher: Watcher) -> list[int]:
    return [frame.id for frame in asyncio.run(watcher.take(seconds=0.01))]


# Channels


@pytest.mark.parametrize("text", ["workspace", "documents", "media", "email", "exports", f"task:{WORKSPACE}"])
def test_a_channel_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_channel(text)) == text


@pytest.mark.parametrize(
    "text", ["", "Workspace", "document", "document:", "document:7", f"job:{WORKSPACE}", "x" * 999]
)
def test_what_is_no_channel_is_unknown(text: str) -> None:
    with pytest.raises(UnknownChannelError):
        parse_channel(text)


# Events


@pytest.mark.parametrize("event", ["crashed", "discarded", "something new"])
def test_what_is_for_operators_is_no_news(event: str) -> None:
    assert present(logged(event)) is None


def test_the_first_half_of_a_task_does_not_complete_it() -> None:
    assert present(logged("succeeded", goes_on=True)) is None
    assert present(logged("succeeded")).name == "task.completed"


def test_a_job_that_was_replaced_by_another_is_told_by_that_one() -> None:
    assert present(logged("replayed", data={"by": str(uuid4())})) is None
    assert present(logged("replayed")).name == "task.queued"


@pytest.mark.parametrize(
    ("queue", "family"), [("media_images", Family.MEDIA), ("email", Family.EMAIL), ("other", None), (None, None)]
)
def test_the_first_word_of_a_queue_names_the_family(queue: str | None, family: Family | None) -> None:
    families = [channel.key for channel in present(logged("queued", queue=queue)).channels
                if channel.kind is ChannelKind.FAMILY]  # fmt: skip

    assert families == ([family] if family else [])


def test_progress_of_a_mailing_is_told_in_figures_on_the_channel_of_its_family() -> None:
    event = present(logged("progress", queue="email", data={"done": 450, "total": 10_000}))

    assert (event.name, event.data["progress"]) == ("task.progress", {"done": 450, "total": 10_000})
    assert Channel(ChannelKind.FAMILY, Family.EMAIL) in event.channels


def test_a_frame_is_the_same_over_both_wires() -> None:
    frame = frame_of(an_event(9))

    assert json.loads(frame.text) == {
        "type": "task_notification", "event": "task.queued", "data": {"status": "queued"}, "id": 9,
    }  # fmt: skip
    assert frame.stream == f"id: 9\ndata: {frame.text}\n\n".encode()


def test_no_text_can_break_out_of_a_server_sent_event() -> None:
    event = LiveEvent(1, "document.failed", WORKSPACE, (), {"name": "a\nid: 99\r\n\ndata: b"})

    assert frame_of(event).stream.count(b"\n") == 3
    assert b"\r" not in frame_of(event).stream


# The hub


def test_an_event_reaches_whom_it_concerns_and_nobody_else() -> None:
    hub, document = a_hub(), Channel(ChannelKind.DOCUMENT, uuid4())
    mine, of_document = a_watcher(hub), a_watcher(hub, channel=document)
    of_another, strangers = a_watcher(hub, channel=parse_channel("email")), a_watcher(hub, workspace_id=STRANGER)
    strangers_too = a_watcher(hub, workspace_id=STRANGER, channel=document)

    hub.publish([an_event(1, channels=(WORKSPACE_CHANNEL, document))], 1)

    assert [ids(each) for each in (mine, of_document, of_another, strangers, strangers_too)] == [[1], [1], [], [], []]


def test_nothing_is_offered_twice() -> None:
    hub = a_hub()
    watcher = a_watcher(hub)
    watcher.after = 5

    hub.publish([an_event(number) for number in (4, 5, 6)], 6)

    assert ids(watcher) == [6]


def test_a_full_queue_ends_the_watch_and_no_other() -> None:
    hub = a_hub()
    slow, quick = a_watcher(hub), a_watcher(hub)
    for number in range(1, QUEUE_EVENTS + 2):
        hub.publish([an_event(number)], number)
        ids_of_quick = ids(quick)
        assert ids_of_quick == [number]

    with pytest.raises(WatchEnded) as ended:
        asyncio.run(slow.take(seconds=1))

    assert ended.value.ending == SLOW


@pytest.mark.parametrize("limits", [{"most_watchers": 2}, {"most_per_workspace": 2}])
def test_there_is_a_limit_to_watchers(limits: dict[str, int]) -> None:
    hub = a_hub(**limits)
    first, _ = a_watcher(hub), a_watcher(hub)
    with pytest.raises(WatchEnded):
        a_watcher(hub)

    hub.leave(first)
    hub.leave(first)

    a_watcher(hub)
    assert len(hub) == 2


def test_a_workspace_that_nobody_listens_to_is_not_read() -> None:
    hub = a_hub()
    watchers = [a_watcher(hub), a_watcher(hub)]
    version = hub.version
    hub.leave(watchers[0])

    assert hub.workspaces == (WORKSPACE,)

    hub.leave(watchers[1])

    assert hub.workspaces == ()
    a_watcher(hub, workspace_id=STRANGER)
    assert hub.version == version + 1


# Requests


@pytest.mark.parametrize(
    "query", [{"since": "-1"}, {"since": "x"}, {"since": "٣"}, {"since": "9" * 30}, {"client_id": "a b"}]
)
def test_requests_that_make_no_sense_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(WatchEnded):
        read_wish("workspace", query)


def test_an_empty_place_is_none() -> None:
    assert read_wish("workspace", {"since": "", "client_id": ""}).since is None
    assert read_wish("workspace", {"since": "0"}).since == 0
