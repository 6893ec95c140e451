"""Jobs by name that are about a row: whoever calls them says what the row is of, and both are put in together."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from adapters.bootstrap_media import MediaProducer
from adapters.mail.bootstrap import PostOffice
from domain.errors import InvalidJobError
from domain.jobs import find_job, parse_uuid
from domain.mail import Letter, NewRecipient

#: Hears the job's id inside the transaction that puts it in, last.
Confirm = Callable[[UUID], None]


@dataclass(frozen=True, slots=True)
class Content:
    """What callers say in place of a row's id, all of it text."""

    must: frozenset[str]
    may: frozenset[str] = frozenset()


CONTENT: Mapping[str, Content] = {
    "send_single_email": Content(
        frozenset({"to", "subject"}),
        frozenset({"text", "html", "to_name", "from_name", "reply_to", "unsubscribe_url"}),
    ),
    "process_file": Content(frozenset({"blob_key", "name"})),
}


def takes_content(job_name: str) -> bool:
    """Tell whether a job is put in by `put_in`. Raises UnknownJobError, JobUnavailableError."""
    return find_job(job_name).name in CONTENT


def put_in(
    job_name: str,
    params: Mapping[str, Any],
    *,
    office: PostOffice,
    media: MediaProducer,
    confirm: Confirm = lambda _: None,
) -> UUID:
    """Put in a mail, or a blob of the workspace that is to be looked at; return its job's id.

    Raises InvalidJobError and InvalidMailError that name the fault, PermanentError (mail_not_configured, blob_missing,
    too_large), TransientError.
    """
    name = find_job(job_name).name
    workspace_id, said = _checked(name, params)
    if name == "process_file":
        return _put_in_file(workspace_id, said, media, confirm)
    letter = Letter(
        subject=said["subject"],
        text=said.get("text"),
        html=said.get("html"),
        from_name=said.get("from_name", ""),
        reply_to=said.get("reply_to"),
        unsubscribe_url=said.get("unsubscribe_url"),
    )
    recipient = NewRecipient(said["to"], said.get("to_name", ""))
    receipt = office.create_mailing(workspace_id, letter, [recipient], confirm=lambda receipt: confirm(receipt.task_id))
    return receipt.task_id


def _put_in_file(workspace_id: UUID, said: Mapping[str, str], media: MediaProducer, confirm: Confirm) -> UUID:
    receipt = media.receive_stored_file(
        workspace_id, said["name"], said["blob_key"], confirm=lambda receipt: confirm(receipt.job_id)
    )
    assert receipt.job_id is not None  # whatever is taken in is looked at  # noqa: S101
    return receipt.job_id


def _checked(name: str, params: Mapping[str, Any]) -> tuple[UUID, dict[str, str]]:
    content = CONTENT[name]
    said = {key: value for key, value in params.items() if key != "workspace_id"}
    unknown, missing = said.keys() - content.must - content.may, content.must - said.keys()
    if unknown or missing or "workspace_id" not in params:
        raise InvalidJobError(
            f"{name} by name takes workspace_id, {', '.join(sorted(content.must))}, and if you like "
            f"{', '.join(sorted(content.may)) or 'nothing else'}; missing: {', '.join(sorted(missing)) or 'none'}; "
            f"unknown: {', '.join(sorted(unknown)) or 'none'}"
        )
    if wrong := sorted(key for key, value in said.items() if not isinstance(value, str)):
        raise InvalidJobError(f"{name}.{wrong[0]} must be str, not {type(said[wrong[0]]).__name__}")
    return parse_uuid(f"{name}.workspace_id", params["workspace_id"]), said
