"""Send a mailing, one recipient at a time: each of them gets one mail, whatever dies in between.

Before a mail is handed over its recipient is marked `sending` in a transaction of its own, right after as `sent`. A
worker that dies between the two leaves one recipient in doubt, never more; the mailing says which way to err.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from domain.crash_points import crash_point
from domain.errors import FailureCode, HeadraceError, ParkedError, PermanentError
from domain.jobs import Lease
from domain.mail import Attachment, InDoubt, RecipientState
from domain.mailings import (
    WHOLE_DEPLOYMENT,
    Answer,
    MailComposer,
    Mailing,
    Mailings,
    MailOutageError,
    Mark,
    Pace,
    Recipient,
    Result,
    Session,
    Standing,
    Transport,
)
from domain.patience import patiently
from domain.ports import BlobStore

#: A mail is tried so often, after pauses that grow from `MailPolicy.first_pause` by this factor: with one minute, after
#: 1, 3, 9, 27 and 81. Greylisting asks for some minutes.
MOST_ATTEMPTS = 6
PAUSE_FACTOR = 3

#: A server that does not answer is left alone for a tenth of the time that it has been away, within these bounds.
SHORTEST_OUTAGE, LONGEST_OUTAGE_PAUSE = timedelta(seconds=2), timedelta(minutes=10)
OUTAGE_ENDS_MAILING = timedelta(days=1)

#: A mail that is not on its way so long after its turn takes another turn. The spacing of turns makes up for it, so
#: that no window has more mails than the limit, whatever was slow.
SLACK = timedelta(seconds=1)

#: Whoever would wait longer than this for its turn, or has worked for so long, gives the thread to other jobs.
PATIENCE = timedelta(seconds=5)
SLICE = timedelta(minutes=10)

#: While paused. `resume` does not wait for it.
PAUSED_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class MailPolicy:
    """How mail leaves this deployment. `rate_limit`: mails per `window` of all mailings together; 0: no limit."""

    sender: str
    rate_limit: int
    first_pause: timedelta
    most_attachment_bytes: int
    window: timedelta = timedelta(minutes=1)

    def paces(self, mailing: Mailing) -> tuple[Pace, ...]:
        """Return the limits that a mailing's mails keep. Turns are evenly apart: no window has more than its limit."""
        limits = ((WHOLE_DEPLOYMENT, self.rate_limit), (mailing.id, mailing.rate_limit))
        return tuple(Pace(scope, (self.window + SLACK) / limit) for scope, limit in limits if limit)

    def pause_after(self, attempts: int) -> timedelta:
        """Return how long to wait after so many refusals before."""
        return self.first_pause * float(PAUSE_FACTOR**attempts)


@dataclass(slots=True)
class MailingReport:
    """What one run did: how many recipients came to which end."""

    mailing_id: UUID
    results: dict[str, int] = field(default_factory=dict)
    doubts: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """One attempt and what it works with."""

    mailing: Mailing
    lease: Lease
    mailings: Mailings
    session: Session
    composer: MailComposer
    policy: MailPolicy
    files: Sequence[tuple[Attachment, bytes]]
    paces: Sequence[Pace]


def send_mailing(
    mailing_id: UUID,
    workspace_id: UUID,
    *,
    lease: Lease,
    mailings: Mailings,
    transport: Transport,
    composer: MailComposer,
    blobs: BlobStore,
    policy: MailPolicy,
    observe: Callable[[Result], None] = lambda _: None,
) -> MailingReport:
    """Send what is left of a mailing. A second run goes on where the first one ended.

    Raises ParkedError when it has to wait: for its pace, a pause, the server, recipients that were refused for now.
    Raises PermanentError when nobody could be reached.
    """
    report = MailingReport(mailing_id)
    mailing = mailings.begin(mailing_id, workspace_id, lease)
    if mailing is None:
        return report
    report.doubts = mailing.doubts
    for _ in range(mailing.doubts):
        observe(Result.IN_DOUBT)
    if mailing.is_paused:
        raise _paused()
    files = _load(mailing.letter.attachments, blobs, policy.most_attachment_bytes)
    with transport.session() as session:
        run = _Run(mailing, lease, mailings, session, composer, policy, files, policy.paces(mailing))
        _send_all(run, report, observe)
    _conclude(mailings.standing(mailing))
    return report


def _send_all(run: _Run, report: MailingReport, observe: Callable[[Result], None]) -> None:
    ends_at = time.monotonic() + SLICE.total_seconds()
    while recipient := run.mailings.next_due(run.mailing):
        run.lease.checkpoint()
        if time.monotonic() > ends_at:
            raise ParkedError(FailureCode.MAIL_DEFERRED, "other jobs take their turn", retry_after=timedelta())
        try:
            answer = _send_one(run, recipient)
        except MailOutageError as error:
            raise _outage(run, error) from error
        if answer is not None:
            observe(answer.result)
            report.results[answer.result] = report.results.get(answer.result, 0) + 1


def _send_one(run: _Run, recipient: Recipient) -> Answer | None:
    """Send one mail and note what became of it; None: not its turn any more, nothing was sent."""
    if recipient.is_suppressed:
        return _settle(run, recipient, Answer(Result.SUPPRESSED, error="The address is on the suppression list."))
    try:
        message = run.composer.compose(run.mailing, recipient, run.files)
    except PermanentError as error:
        return _settle(run, recipient, Answer(Result.INVALID, error=error.message))
    too_late_at = _wait_for_turn(run)
    answer = run.session.offer(run.policy.sender, recipient.address)
    if answer.result is not Result.SENT:
        return _settle(run, recipient, answer)
    mark = _mark_sending(run, recipient)
    if mark is Mark.PAUSED:
        raise _paused()
    if mark is Mark.GONE:
        return None
    if time.monotonic() > too_late_at:
        run.session.withdraw()
        patiently(lambda: run.mailings.take_back(run.mailing, recipient, run.lease), run.lease)
        return None
    crash_point("before_mail_is_handed_over")
    try:
        answer = run.session.hand_over(message)
    except MailOutageError:  # the server has not taken the mail: there is no doubt
        patiently(lambda: run.mailings.take_back(run.mailing, recipient, run.lease), run.lease)
        raise
    crash_point("after_mail_is_handed_over")
    return _settle(run, recipient, answer)


def _mark_sending(run: _Run, recipient: Recipient) -> Mark:
    try:
        mark = run.mailings.mark_sending(run.mailing, recipient, run.lease)
    except HeadraceError:
        run.session.withdraw()
        raise
    if mark is not Mark.MARKED:
        run.session.withdraw()
    return mark


def _wait_for_turn(run: _Run) -> float:
    """Wait until a mail may leave; return the time of the monotonic clock until which it may. Raises ParkedError."""
    if not run.paces:
        return float("inf")
    asked_at = time.monotonic()
    is_taken, wait = run.mailings.take_turn(run.paces, PATIENCE)
    if not is_taken:
        raise ParkedError(FailureCode.MAIL_DEFERRED, "the rate limit lets the next mail leave later", retry_after=wait)
    # The database said it between the question and the answer: not before the latest, not after the earliest of both.
    due_at = time.monotonic() + wait.total_seconds()
    while (left := due_at - time.monotonic()) > 0:
        run.lease.checkpoint()
        time.sleep(min(left, 0.5))
    return asked_at + (wait + SLACK).total_seconds()


def _settle(run: _Run, recipient: Recipient, answer: Answer) -> Answer:
    state, wait = _verdict(run, recipient, answer)
    patiently(lambda: run.mailings.settle(run.mailing, recipient, run.lease, answer, state=state, wait=wait), run.lease)
    return answer


FINAL = {
    Result.SENT: RecipientState.SENT,
    Result.PERMANENT: RecipientState.FAILED,
    Result.INVALID: RecipientState.FAILED,
    Result.SUPPRESSED: RecipientState.SUPPRESSED,
}


def _verdict(run: _Run, recipient: Recipient, answer: Answer) -> tuple[RecipientState, timedelta]:
    """Return a recipient's next state, and for PENDING how long to wait."""
    if answer.result in FINAL:
        return FINAL[answer.result], timedelta()
    is_in_doubt = answer.result is Result.IN_DOUBT
    if is_in_doubt and run.mailing.in_doubt is InDoubt.GIVE_UP:
        return RecipientState.UNCONFIRMED, timedelta()
    if recipient.attempts + 1 >= MOST_ATTEMPTS:
        return RecipientState.UNCONFIRMED if is_in_doubt else RecipientState.FAILED, timedelta()
    return RecipientState.PENDING, run.policy.pause_after(recipient.attempts)


def _conclude(standing: Standing) -> None:
    """End well, or raise: ParkedError when somebody is left, PermanentError when nobody was reached."""
    if standing.waiting:
        message = f"{standing.waiting:,} recipients wait for another attempt"
        raise ParkedError(FailureCode.MAIL_DEFERRED, message, retry_after=max(standing.next_in, timedelta()))
    if standing.sent or standing.unconfirmed:
        return
    if standing.failed:
        error = f"Nobody could be reached. The last answer: {standing.last_error}"
        raise PermanentError(FailureCode.MAIL_REJECTED, error)
    raise PermanentError(FailureCode.MAIL_SUPPRESSED, "Every recipient is on the suppression list; nothing was sent.")


def _outage(run: _Run, error: MailOutageError) -> HeadraceError:
    away = run.mailings.note_outage(run.mailing)
    if away > OUTAGE_ENDS_MAILING:
        run.mailings.forget_outage(run.mailing)
        message = (
            f"The mail server has not taken mail for a day: {error}. Mend it, then retry; nobody gets a second mail."
        )
        return PermanentError(FailureCode.MAIL_UNAVAILABLE, message)
    pause = min(max(away / 10, SHORTEST_OUTAGE), LONGEST_OUTAGE_PAUSE)
    return ParkedError(FailureCode.MAIL_UNAVAILABLE, f"the mail server is not available: {error}", retry_after=pause)


def _paused() -> ParkedError:
    return ParkedError(FailureCode.MAIL_DEFERRED, "the mailing is paused", retry_after=PAUSED_FOR)


def _load(attachments: Sequence[Attachment], blobs: BlobStore, most_bytes: int) -> list[tuple[Attachment, bytes]]:
    """Read the attachments once for all mails. Raises PermanentError (blob_missing, too_large), TransientError."""
    files, left = [], most_bytes
    for attachment in attachments:
        with blobs.local_file(attachment.blob_key) as path, path.open("rb") as file:
            content = file.read(left + 1)
        left -= len(content)
        if left < 0:
            message = f"The attachments have more than {most_bytes:,} bytes (MAIL_MAX_ATTACHMENT_BYTES)."
            raise PermanentError(FailureCode.TOO_LARGE, message)
        files.append((attachment, content))
    return files
