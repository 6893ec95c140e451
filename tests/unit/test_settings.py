"""Settings: where a value comes from, and what a person reads when one is wrong."""

import pytest

from adapters.settings import Settings, load_settings
from domain.errors import SettingsError

DATABASE_URL = "postgresql://headrace:hunter2@localhost/headrace"
REDIS_URL = "redis://:hunter3@localhost:6379/0"
REQUIRED = {"DATABASE_URL": DATABASE_URL, "REDIS_URL": REDIS_URL}
SECRETS = {"hunter2", "hunter3", "hunter4", "hunter5"}

WRONG = {
    "DATABASE_URL": "mysql://headrace:hunter2@localhost/headrace",
    "REDIS_URL": "amqp://:hunter3@localhost",
    "BLOB_URL": "/var/blobs",
    "EMBEDDING_PROVIDER": "cohere",
    "EMBEDDING_DIMENSIONS": "4001",
    "EMBEDDING_INPUTS_PER_REQUEST": "0",
    "EMBEDDING_REQUESTS_AT_A_TIME": "0",
    "EMBEDDING_TOKENS_PER_REQUEST": "-1",
    "EMBEDDING_TIMEOUT_SECONDS": "soon",
    "RESERVATION_TTL_SECONDS": "0",
    "BATCH_SIZE_JOBS": "0",
    "WORKER_PROCESSING_INTERVAL": "5s",
    "QUEUE_NAME": "two words",
    "LEASE_SECONDS": "0",
    "HEARTBEAT_SECONDS": "0",
    "MAX_RETRIES": "-1",
    "MAX_CRASHES": "0",
    "DATABASE_POOL_SIZE": "0",
    "METRICS_PORT": "65536",
    "METRICS_REQUIRE_AUTH": "perhaps",
    "LIVE_CLIENTS": "0",
    "LIVE_CLIENTS_PER_WORKSPACE": "many",
    "LOG_FORMAT": "xml",
    "LOG_LEVEL": "chatty",
    "WEBHOOKS_ALLOW_PRIVATE": "perhaps",
    "WEBHOOK_TIMEOUT_SECONDS": "61",
    "WEBHOOK_ENDPOINTS_PER_WORKSPACE": "0",
    "WEBHOOK_DISABLE_AFTER_DAYS": "0",
    "SMTP_PORT": "0",
    "SMTP_TLS": "perhaps",
    "SMTP_TIMEOUT_SECONDS": "301",
    "MAIL_FROM": "nobody",
    "MAIL_RATE_LIMIT": "-1",
    "MAIL_RETRY_SECONDS": "0",
    "MAIL_MAX_RECIPIENTS": "0",
    "MAIL_MAX_ATTACHMENT_BYTES": "0",
    "EXPORT_KEEP_DAYS": "0",
    "EXPORT_LINK_SECONDS": "604801",
    "KEEP_JOBS_DAYS": "0",
    "KEEP_FAILED_JOBS_DAYS": "0",
    "KEEP_EVENTS_DAYS": "-1",
    "KEEP_TICKS_DAYS": "for ever",
    "API_PORT": "65536",
    "API_THREADS": "0",
    "API_DATABASE_POOL_SIZE": "0",
    "API_MOST_UPLOADS": "0",
    "API_UPLOAD_SECONDS": "a while",
    "API_MOST_WAITING": "0",
    "API_REQUESTS_PER_SECOND": "0",
    "API_REQUESTS_BURST": "0",
    "API_BACKLOG_DOCUMENTS": "0",
    "API_CORS_ORIGINS": "*",
    "DOCUMENT_MAX_BYTES": "0",
    "DOCUMENT_MAX_PAGES": "0",
    "DOCUMENT_MAX_CHARACTERS": "0",
    "PAGE_MAX_CHARACTERS": "0",
    "PARSER_MEMORY_BYTES": "1GiB",
    "PARSER_CPU_SECONDS": "0",
    "PARSER_WALL_SECONDS": "0",
    "PARSER_PAGE_SECONDS": "0",
    "PARSER_PROCESSES": "0",
    "MEDIA_MAX_BYTES": "0",
    "MEDIA_MAX_PIXELS": "100MP",
    "MEDIA_MAX_FRAMES": "0",
    "MEDIA_MEMORY_BYTES": "1GiB",
    "MEDIA_WALL_SECONDS": "0",
    "MEDIA_PROCESSES": "0",
    "CHUNK_TOKENS": "31",
    "CHUNK_OVERLAP_TOKENS": "-1",
}
# Any text is a value for these.
NEVER_WRONG = {
    "EMBEDDING_MODEL",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "SMTP_HOST",
    "SMTP_USER",
    "SMTP_PASSWORD",
    "METRICS_HOST",
    "METRICS_TOKEN",
    "CRASH_TOKENS",
    "API_HOST",
}

WRONG_TOGETHER = [
    ({"METRICS_REQUIRE_AUTH": "true"}, "METRICS_TOKEN", "is missing"),
    ({"EMBEDDING_PROVIDER": "openai"}, "OPENAI_API_KEY", "is missing"),
    ({"SMTP_HOST": "localhost"}, "MAIL_FROM", "is missing"),
    ({"SMTP_USER": "mailer"}, "SMTP_PASSWORD", "is missing"),
    ({"SMTP_USER": "a", "SMTP_PASSWORD": "hunter4", "SMTP_TLS": "none"}, "SMTP_TLS", "would travel in clear"),
    ({"CHUNK_TOKENS": "100", "CHUNK_OVERLAP_TOKENS": "100"}, "CHUNK_OVERLAP_TOKENS", "must be below CHUNK_TOKENS"),
    ({"LEASE_SECONDS": "10", "HEARTBEAT_SECONDS": "4"}, "LEASE_SECONDS", "three times HEARTBEAT_SECONDS"),
]


@pytest.fixture(autouse=True)
def empty_surroundings(monkeypatch, tmp_path):
    """Run in an empty folder, with no setting in the environment and no secrets folder."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(Settings.model_config, "secrets_dir", None)


@pytest.fixture
def environment(monkeypatch):
    """Set variables on top of the required ones."""

    def set_variables(**variables):
        for name, value in (REQUIRED | variables).items():
            monkeypatch.setenv(name, value)

    return set_variables


@pytest.fixture
def secrets_folder(monkeypatch, tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    monkeypatch.setitem(Settings.model_config, "secrets_dir", folder)
    return folder


def fault_of_loading():
    with pytest.raises(SettingsError) as stopped:
        load_settings()
    return str(stopped.value)


def example_of(name):
    return f"{name}={Settings.model_fields[name.lower()].examples[0]}"


def test_the_two_addresses_are_enough(environment):
    environment()

    settings = load_settings()

    assert settings.database_url.get_secret_value() == DATABASE_URL
    assert settings.redis_url.get_secret_value() == REDIS_URL
    assert settings.lease_ttl.total_seconds() == settings.lease_seconds
    assert not settings.is_sqlite


def test_the_defaults_are_the_documented_ones(environment):
    environment()

    settings = load_settings()

    assert settings.reservation_ttl_seconds == 600
    assert settings.batch_size_jobs == 50
    assert settings.worker_processing_interval == 5000
    assert settings.metrics_port == 9191
    assert settings.embedding_provider == "local"


def test_every_missing_setting_is_named_at_once_with_an_example():
    fault = fault_of_loading()

    assert f"DATABASE_URL is missing; example: {example_of('DATABASE_URL')}" in fault
    assert f"REDIS_URL is missing; example: {example_of('REDIS_URL')}" in fault
    assert "docs/configuration.md" in fault


@pytest.mark.parametrize(("name", "value"), WRONG.items())
def test_a_wrong_value_is_named_with_its_fault_and_an_example(environment, name, value):
    environment(**{name: value})

    fault = fault_of_loading()

    assert f"{name} is wrong: " in fault
    assert f"; example: {example_of(name)}" in fault
    assert value not in fault.replace(example_of(name), "") or value.isdigit()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://headrace:hunter2%zz@localhost/headrace"),
        ("DATABASE_URL", "postgresql://headrace:hunter2@localhost/headrace?bogus=1"),
        ("REDIS_URL", "redis://:hunter3@localhost:70000/0"),
        ("REDIS_URL", "redis://:hunter3@[::1/0"),
    ],
    ids=["password", "parameter", "port", "host"],
)
def test_an_address_that_cannot_be_read_stops_the_start(environment, name, value):
    environment(**{name: value})

    fault = fault_of_loading()

    assert f"{name} is wrong: " in fault
    assert not any(secret in fault for secret in SECRETS)


def test_every_setting_has_a_wrong_value_in_these_tests():
    assert WRONG.keys() | NEVER_WRONG == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize(("variables", "name", "reason"), WRONG_TOGETHER)
def test_values_that_do_not_fit_together_are_named(environment, variables, name, reason):
    environment(**variables)

    fault = fault_of_loading()

    assert name in fault
    assert reason in fault


@pytest.mark.parametrize(("variables", "name"), [case[:2] for case in WRONG_TOGETHER])
def test_values_that_do_not_fit_together_come_with_an_example(environment, variables, name):
    environment(**variables)

    assert example_of(name) in fault_of_loading()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_example_is_accepted(environment, name):
    # Values that another setting asks for, so that each example stands alone.
    environment(METRICS_TOKEN="hunter4", OPENAI_API_KEY="hunter5", SMTP_PASSWORD="hunter4", MAIL_FROM="a@example.com")
    example = str(Settings.model_fields[name].examples[0])
    environment(**{name.upper(): example})

    value = getattr(load_settings(), name)

    assert value is not None


def test_several_faults_are_told_together(environment):
    environment(METRICS_PORT="none", LOG_LEVEL="loud")

    fault = fault_of_loading()

    assert "METRICS_PORT" in fault
    assert "LOG_LEVEL" in fault


def test_an_empty_variable_counts_as_unset(environment):
    environment(METRICS_PORT="", OPENAI_API_KEY="")

    settings = load_settings()

    assert settings.metrics_port == 9191
    assert settings.openai_api_key is None


def test_settings_cannot_be_changed(environment):
    environment()
    settings = load_settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.metrics_port = 1


def test_secrets_never_appear_in_text(environment):
    environment(METRICS_TOKEN="hunter4", OPENAI_API_KEY="hunter5", SMTP_PASSWORD="hunter4", MAIL_FROM="a@example.com")

    settings = load_settings()
    texts = (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json())

    assert [secret for secret in SECRETS for text in texts if secret in text] == []


def test_secrets_never_appear_in_a_fault(environment):
    environment(
        DATABASE_URL=WRONG["DATABASE_URL"],
        REDIS_URL=WRONG["REDIS_URL"],
        METRICS_TOKEN="hunter4",
        OPENAI_API_KEY="hunter5",
        METRICS_PORT="x",
    )

    with pytest.raises(SettingsError) as stopped:
        load_settings()

    assert [secret for secret in SECRETS if secret in f"{stopped.value!r}{stopped.value}"] == []
    assert stopped.value.__suppress_context__


def test_the_env_file_of_the_folder_is_read(tmp_path):
    (tmp_path / ".env").write_text(f"DATABASE_URL={DATABASE_URL}\nREDIS_URL={REDIS_URL}\nMETRICS_PORT=9999\n")

    settings = load_settings()

    assert settings.database_url.get_secret_value() == DATABASE_URL
    assert settings.metrics_port == 9999


def test_foreign_lines_of_the_env_file_do_no_harm(tmp_path):
    (tmp_path / ".env").write_text(f"DATABASE_URL={DATABASE_URL}\nREDIS_URL={REDIS_URL}\nSOMETHING_ELSE=1\n")

    assert load_settings().metrics_port == 9191


def test_the_environment_outranks_the_env_file(environment, tmp_path):
    (tmp_path / ".env").write_text("METRICS_PORT=9999\nBATCH_SIZE_JOBS=7\n")
    environment(METRICS_PORT="8888")

    settings = load_settings()

    assert (settings.metrics_port, settings.batch_size_jobs) == (8888, 7)


def test_secrets_files_are_read_without_their_line_end(secrets_folder):
    (secrets_folder / "database_url").write_text(f"{DATABASE_URL}\n")
    (secrets_folder / "redis_url").write_text(f"{REDIS_URL}\n")
    (secrets_folder / "metrics_token").write_text("hunter4\n")

    settings = load_settings()

    assert settings.database_url.get_secret_value() == DATABASE_URL
    assert settings.metrics_token is not None
    assert settings.metrics_token.get_secret_value() == "hunter4"


def test_a_variable_outranks_the_secrets_file_unless_it_is_empty(environment, secrets_folder):
    (secrets_folder / "database_url").write_text("postgresql://from-the-file/headrace")
    (secrets_folder / "redis_url").write_text("redis://from-the-file")
    environment(DATABASE_URL="")

    settings = load_settings()

    assert settings.database_url.get_secret_value() == "postgresql://from-the-file/headrace"
    assert settings.redis_url.get_secret_value() == REDIS_URL


def test_an_empty_secrets_file_is_no_token(environment, secrets_folder):
    (secrets_folder / "metrics_token").write_text("\n")
    environment(METRICS_REQUIRE_AUTH="true")

    assert "METRICS_TOKEN is missing" in fault_of_loading()


def test_sqlite_is_told_apart(environment):
    environment(DATABASE_URL="sqlite:///usage.db")

    assert load_settings().is_sqlite
