"""A workspace names its own blobs and nothing else."""

from uuid import UUID

import pytest

from domain.blob_keys import LONGEST_KEY, is_key_of
from domain.errors import InvalidMailError
from domain.mail import Attachment, Letter, MailLimits, NewRecipient, create_mailing

WORKSPACE, OTHER = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize("rest", ["report", "a/b.pdf", "00000000-0000-0000-0000-000000000003"])
def test_a_key_below_the_workspace_is_its_own(rest: str) -> None:
    assert is_key_of(WORKSPACE, f"{WORKSPACE}/{rest}")
    assert not is_key_of(OTHER, f"{WORKSPACE}/{rest}")


FOREIGN = [
    "", "report", f"{WORKSPACE}", f"{WORKSPACE}/", f"{WORKSPACE}/../{OTHER}/report", f"{WORKSPACE}/./report",
    f"{WORKSPACE}//report", f"/{WORKSPACE}/report", f"{WORKSPACE}/a#1", f"{WORKSPACE}/a\n", f"{WORKSPACE}/é",
    f"{WORKSPACE}/{'x' * LONGEST_KEY}",
]  # fmt: skip


@pytest.mark.parametrize("key", FOREIGN)
def test_anything_else_is_not(key: str) -> None:
    assert not is_key_of(WORKSPACE, key)


@pytest.mark.parametrize("key", FOREIGN)
def test_nothing_else_is_attached_to_a_mail(key: str) -> None:
    letter = Letter(subject="x", text="y", attachments=[Attachment(key, "a.pdf")])

    with pytest.raises(InvalidMailError, match="no blob of this workspace"):
        create_mailing(
            WORKSPACE,
            letter,
            [NewRecipient("anna@example.com")],
            intake=None,  # type: ignore[arg-type]
            composer=None,  # type: ignore[arg-type]
            limits=MailLimits("news@example.com", 1),
        )
