"""Settings: read once into one frozen object. Nothing else in the project reads the environment."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from adapters.addresses import check_database_address, check_redis_address
from adapters.mail.settings import MailSettings
from domain.errors import SettingsError

SECRETS_DIR = Path("/run/secrets")

BLOB_SCHEMES = ("file://", "s3://", "gs://", "az://", "memory://")

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.:\[\]-]+")

Positive = Annotated[int, Field(gt=0)]


class Settings(MailSettings, BaseSettings):
    """Every knob of Headrace. Each description becomes a line of docs/configuration.md and .env.example."""

    model_config = SettingsConfigDict(
        frozen=True,
        env_file=".env",
        secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None,
        extra="ignore",
        hide_input_in_errors=True,
        env_ignore_empty=True,
    )

    database_url: SecretStr = Field(
        description="PostgreSQL with pgvector: the truth. `sqlite:///` serves `cleanup_stale_reservations` alone.",
        examples=["postgresql://headrace:secret@localhost:5432/headrace"],
    )
    redis_url: SecretStr = Field(
        description="Redis 7+ or Valkey: the doorbell. It may be emptied at any moment.",
        examples=["redis://localhost:6379/0"],
    )
    blob_url: str = Field(
        default="file://./.headrace/blobs",
        description="Where uploaded bytes live: `file://`, `s3://`, `gs://` or `az://`.",
        examples=["s3://my-bucket/headrace"],
    )

    embedding_provider: Literal["local", "openai"] = Field(
        default="local",
        description="`local`: the offline model inside the package. `openai`: any OpenAI-compatible URL.",
        examples=["openai"],
    )
    embedding_model: str = Field(
        default="",
        description="Model name for the `openai` provider; empty means its default (`text-embedding-3-small`).",
        examples=["text-embedding-3-small"],
    )
    embedding_dimensions: int = Field(
        default=0,
        ge=0,
        le=4000,
        description="Length of the vectors; 0 means the model's own (local: 256, text-embedding-3-small: 1536).",
        examples=["512"],
    )
    openai_api_key: SecretStr | None = Field(
        default=None, description="Key for the `openai` provider. Never logged.", examples=["sk-..."]
    )
    openai_base_url: str | None = Field(
        default=None,
        description="Base URL of an OpenAI-compatible server; empty means OpenAI's own.",
        examples=["http://localhost:8080/v1"],
    )
    embedding_inputs_per_request: Positive = Field(
        default=128, description="Most texts in one embedding request (OpenAI's limit: 2048).", examples=["100"]
    )
    embedding_tokens_per_request: Positive = Field(
        default=250_000, description="Most tokens in one embedding request (OpenAI's limit: 300000).", examples=["8000"]
    )
    embedding_requests_at_a_time: Positive = Field(
        default=4, description="Most embedding requests that one document has under way.", examples=["1"]
    )
    embedding_timeout_seconds: Positive = Field(
        default=60, description="Deadline of one embedding request, connection and answer together.", examples=["30"]
    )

    reservation_ttl_seconds: Positive = Field(
        default=600, description="Reserved tokens of a job that went silent are freed after this.", examples=["600"]
    )
    batch_size_jobs: Positive = Field(
        default=50, description="Most jobs that the relay hands out in one step, per queue.", examples=["100"]
    )
    worker_processing_interval: Positive = Field(
        default=5000,
        description="Milliseconds after which the relay looks for due jobs even if nobody rang.",
        examples=["1000"],
    )
    queue_name: str = Field(
        default="headrace",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Prefix of the hint lists in Redis, so that several deployments can share one server.",
        examples=["headrace-staging"],
    )
    lease_seconds: Positive = Field(
        default=20, description="A job whose worker went silent for this long is taken from it.", examples=["20"]
    )
    heartbeat_seconds: Positive = Field(
        default=5, description="How often a worker renews its leases and looks for expired ones.", examples=["5"]
    )
    max_retries: int = Field(
        default=5, ge=0, description="Retries of a job that ends in a transient or unknown error.", examples=["8"]
    )
    max_crashes: Positive = Field(
        default=2,
        description="A job whose worker process died this often is failed; one more if other jobs died with it.",
        examples=["2"],
    )
    database_pool_size: Positive = Field(
        default=4,
        description="Most pooled connections per worker process; two more serve relay and leases.",
        examples=["8"],
    )

    metrics_host: str = Field(default="127.0.0.1", description="Address the exporter listens on.", examples=["0.0.0.0"])
    metrics_port: int = Field(
        default=9191,
        ge=0,
        le=65535,
        description="Port of `/metrics`, `/healthz`, `/readyz`; 0 turns it off.",
        examples=["9191"],
    )
    metrics_require_auth: bool = Field(
        default=False, description="Ask for `Authorization: Bearer METRICS_TOKEN` on `/metrics`.", examples=["true"]
    )
    metrics_token: SecretStr | None = Field(
        default=None, description="The token `/metrics` asks for. Never logged.", examples=["a-long-random-string"]
    )
    live_clients: Positive = Field(
        default=2000,
        description="Most live connections to one API process; keep `ulimit -n` above it.",
        examples=["500"],
    )
    live_clients_per_workspace: Positive = Field(
        default=500, description="Most live connections of one workspace to one API process.", examples=["100"]
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="`auto`: console on a terminal, JSON elsewhere.", examples=["json"]
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe level that is written.", examples=["DEBUG"]
    )

    keep_jobs_days: Positive = Field(
        default=7, description="Days that jobs which succeeded or were cancelled are kept.", examples=["2"]
    )
    keep_failed_jobs_days: Positive = Field(
        default=90, description="Days that failed jobs, the dead letters, are kept.", examples=["30"]
    )
    keep_events_days: Positive = Field(default=7, description="Days that events can be replayed.", examples=["2"])
    keep_ticks_days: Positive = Field(
        default=2, description="Days that ticks of periodic actors are kept.", examples=["1"]
    )

    webhooks_allow_private: bool = Field(
        default=False,
        description="Let webhooks go to private addresses, over plain HTTP and to any port: for networks you own.",
        examples=["true"],
    )
    webhook_timeout_seconds: int = Field(
        default=15,
        gt=0,
        le=60,
        description="Deadline of one webhook, from looking up its name to the receiver's status.",
        examples=["10"],
    )
    webhook_endpoints_per_workspace: Positive = Field(
        default=20, description="Most webhook endpoints of one workspace.", examples=["5"]
    )
    webhook_disable_after_days: Positive = Field(
        default=5,
        description="A webhook endpoint that has failed for this long without a success is disabled.",
        examples=["3"],
    )

    export_keep_days: Positive = Field(
        default=7, description="Days after which the files of an export are removed.", examples=["2"]
    )
    export_link_seconds: int = Field(
        default=3600, gt=0, le=604_800, description="How long a download link of an export works.", examples=["600"]
    )

    crash_tokens: str = Field(
        default="",
        description="For tests only: a folder whose files name crash points at which a worker kills itself.",
        examples=["./crash-tokens"],
    )

    api_host: str = Field(default="127.0.0.1", description="Address the HTTP API listens on.", examples=["0.0.0.0"])
    api_port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="Port of the HTTP API; with 0 `headrace up` does not start it.",
        examples=["8080"],
    )
    api_threads: Positive = Field(
        default=16, description="Most requests that an API process works on at a time; others queue.", examples=["32"]
    )
    api_database_pool_size: Positive = Field(
        default=8, description="Most pooled connections per API process.", examples=["16"]
    )
    api_most_uploads: Positive = Field(
        default=16, description="Most uploads at a time per API process; one more is answered 503.", examples=["32"]
    )
    api_upload_seconds: Positive = Field(
        default=600, description="Longest time that one upload may take.", examples=["120"]
    )
    api_most_waiting: Positive = Field(
        default=200,
        description="Most requests that wait (`?wait=`) at a time per API process; one more is answered at once.",
        examples=["500"],
    )
    api_requests_per_second: Positive = Field(
        default=50, description="Requests a second that one API key may make for long.", examples=["10"]
    )
    api_requests_burst: Positive = Field(
        default=200, description="Requests that one API key may make at once after a pause.", examples=["20"]
    )
    api_backlog_documents: Positive = Field(
        default=10_000,
        description="Documents of a workspace that may wait to be read; an upload beyond is answered 503.",
        examples=["1000"],
    )
    api_cors_origins: str = Field(
        default="",
        description="Origins whose pages may call the API from a browser, separated by commas; empty: none.",
        examples=["https://app.example.com,https://admin.example.com"],
    )

    document_max_bytes: Positive = Field(
        default=200 * 1024 * 1024, description="Largest upload, in bytes.", examples=["52428800"]
    )
    document_max_pages: Positive = Field(default=10_000, description="Most pages of one document.", examples=["2000"])
    document_max_characters: Positive = Field(
        default=100_000_000, description="Most characters of text in one document.", examples=["20000000"]
    )
    page_max_characters: Positive = Field(
        default=2_000_000, description="Most characters of text on one page.", examples=["500000"]
    )
    parser_memory_bytes: Positive = Field(
        default=1024 * 1024 * 1024, description="Address space of one parser process.", examples=["536870912"]
    )
    parser_cpu_seconds: Positive = Field(default=300, description="CPU time of one parser process.", examples=["120"])
    parser_wall_seconds: Positive = Field(
        default=600, description="Wall-clock time of one parser process.", examples=["300"]
    )
    parser_page_seconds: Positive = Field(default=30, description="Wall-clock time of one page.", examples=["10"])
    parser_processes: Positive = Field(
        default=2, description="Most parser processes at a time, per worker process.", examples=["4"]
    )

    media_max_bytes: Positive = Field(
        default=50 * 1024 * 1024, description="Largest image that is taken, and largest result.", examples=["20971520"]
    )
    media_max_pixels: Positive = Field(
        default=100_000_000,
        description="Most pixels of an image, of all the frames together that are kept.",
        examples=["40000000"],
    )
    media_max_frames: Positive = Field(
        default=1000, description="Most frames of an animation that is kept.", examples=["200"]
    )
    media_memory_bytes: Positive = Field(
        default=1024 * 1024 * 1024,
        description="Address space of one process that makes a picture.",
        examples=["536870912"],
    )
    media_wall_seconds: Positive = Field(
        default=60, description="Wall-clock time, and CPU time, of one picture.", examples=["20"]
    )
    media_processes: Positive = Field(
        default=2, description="Most processes at a time that make pictures, per worker process.", examples=["4"]
    )

    chunk_tokens: int = Field(default=256, ge=32, le=8000, description="Most tokens in one chunk.", examples=["200"])
    chunk_overlap_tokens: int = Field(
        default=25,
        ge=0,
        description="Tokens that neighbouring chunks share; must stay below CHUNK_TOKENS.",
        examples=["40"],
    )

    @field_validator("database_url")
    @classmethod
    def _database_address(cls, value: SecretStr) -> SecretStr:
        check_database_address(value.get_secret_value())
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_address(cls, value: SecretStr) -> SecretStr:
        check_redis_address(value.get_secret_value())
        return value

    @field_validator("blob_url")
    @classmethod
    def _blob_scheme(cls, value: str) -> str:
        if not value.startswith(BLOB_SCHEMES):
            raise ValueError(f"must start with one of {', '.join(BLOB_SCHEMES)}")
        return value

    @field_validator("api_cors_origins")
    @classmethod
    def _cors_origins(cls, value: str) -> str:
        if value and not all(_ORIGIN.fullmatch(origin) for origin in value.split(",")):
            raise ValueError("must name origins, each a scheme and a host, separated by commas without blanks")
        return value

    @field_validator("openai_api_key", "metrics_token", "smtp_password", "openai_base_url", mode="before")
    @classmethod
    def _blank_is_missing(cls, value: object) -> object:
        """Read an empty secrets file as no secret at all."""
        return None if isinstance(value, str) and not value.strip() else value

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.metrics_require_auth and self.metrics_token is None:
            raise _misfit("metrics_token", "is missing: METRICS_REQUIRE_AUTH asks for one")
        if self.embedding_provider == "openai" and self.openai_api_key is None and self.openai_base_url is None:
            raise _misfit("openai_api_key", "is missing: EMBEDDING_PROVIDER is `openai` (or set OPENAI_BASE_URL)")
        if fault := self.mail_fault():
            raise _misfit(*fault)
        if self.chunk_overlap_tokens >= self.chunk_tokens:
            raise _misfit("chunk_overlap_tokens", "must be below CHUNK_TOKENS")
        if self.heartbeat_seconds * 3 > self.lease_seconds:
            raise _misfit("lease_seconds", "must be at least three times HEARTBEAT_SECONDS")
        return self

    @property
    def lease_ttl(self) -> timedelta:
        """How long a lease lives without a heartbeat."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is the SQLite file that serves reservations alone."""
        return self.database_url.get_secret_value().startswith("sqlite:///")


def load_settings(known: Mapping[str, Any] | None = None) -> Settings:
    """Read environment, `.env` and secrets files; what is `known` wins.

    Raises SettingsError that names every fault with an example.
    """
    try:
        return Settings(**(known or {}))
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    faults = [_explain_one(str(fault["loc"][0]) if fault["loc"] else "", fault["msg"]) for fault in error.errors()]
    return "Headrace cannot start: " + ("; ".join(faults)) + ". See docs/configuration.md."


def _explain_one(field: str, message: str) -> str:
    reason = "is missing" if message == "Field required" else message.removeprefix("Value error, ")
    if field not in Settings.model_fields:
        return reason  # from _misfit, which names the setting itself
    return f"{field.upper()} {'' if reason == 'is missing' else 'is wrong: '}{reason}; {_example(field)}"


def _misfit(field: str, reason: str) -> ValueError:
    return ValueError(f"{field.upper()} {reason}; {_example(field)}")


def _example(field: str) -> str:
    return f"example: {field.upper()}={(Settings.model_fields[field].examples or [''])[0]}"
