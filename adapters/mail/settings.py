"""The settings of mail, a part of adapters/settings.py."""

from typing import Literal

from pydantic import BaseModel, Field, SecretStr


class MailSettings(BaseModel):
    """Where mail is handed over, how fast, and how much of it."""

    smtp_host: str = Field(
        default="", description="The mail server that takes mail from Headrace; empty: no mail.", examples=["localhost"]
    )
    smtp_port: int = Field(
        default=587, gt=0, le=65535, description="Its port: usually 587, with `implicit` TLS 465.", examples=["465"]
    )
    smtp_tls: Literal["starttls", "implicit", "none"] = Field(
        default="starttls",
        description="How the way to it is encrypted; `none` is for a server on the same machine.",
        examples=["implicit"],
    )
    smtp_user: str = Field(default="", description="Whom to log in as; empty: without a login.", examples=["mailer"])
    smtp_password: SecretStr | None = Field(
        default=None, description="The password of SMTP_USER. Never logged.", examples=["a-long-random-string"]
    )
    smtp_timeout_seconds: int = Field(
        default=30, gt=0, le=300, description="Deadline of one answer of the mail server.", examples=["10"]
    )
    mail_from: str = Field(
        default="",
        pattern=r"^$|^[^\s@<>]+@[A-Za-z0-9.-]+$",
        description="The address that all mail comes from; empty: no mail.",
        examples=["news@example.com"],
    )
    mail_rate_limit: int = Field(
        default=0, ge=0, description="Most mails a minute of all workers together; 0: no limit.", examples=["600"]
    )
    mail_retry_seconds: int = Field(
        default=60,
        gt=0,
        description="A mail that was refused for now is tried again after this, then after 3, 9, 27 and 81 times this.",
        examples=["30"],
    )
    mail_max_recipients: int = Field(
        gt=0, default=10_000, description="Most recipients of one mailing.", examples=["1000"]
    )
    mail_max_attachment_bytes: int = Field(
        gt=0,
        default=10 * 1024 * 1024,
        description="Most bytes that the attachments of one mail have.",
        examples=["1048576"],
    )

    def mail_fault(self) -> tuple[str, str] | None:
        """Name a setting that does not fit the others, and why."""
        if self.smtp_host and not self.mail_from:
            return "mail_from", "is missing: SMTP_HOST is set"
        if self.smtp_user and self.smtp_password is None:
            return "smtp_password", "is missing: SMTP_USER is set"
        if self.smtp_user and self.smtp_tls == "none":
            return "smtp_tls", "must not be `none` with SMTP_USER: the password would travel in clear"
        return None
