"""What we hand to an operator is valid, agrees with the settings, and fits together."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from dramatiq.cli import make_argument_parser

from adapters.api.__main__ import SHUTDOWN_SECONDS
from adapters.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy/Dockerfile"
DASHBOARD = ROOT / "deploy/grafana/headrace.json"
ALERTS = ROOT / "deploy/prometheus/alerts.yml"

SETTING_NAMES = {name.upper() for name in Settings.model_fields}
FOREIGN = {"prometheus", "grafana", "postgres", "valkey", "mail-catcher"}  # images that others build
# Read by compose itself, never by Headrace.
COMPOSE_ONLY = {"HEADRACE_REQUIREMENTS", "HEADRACE_POSTGRES_PORT", "HEADRACE_VALKEY_PORT", "HEADRACE_API_PORT"}
CONNECTIONS_BESIDE_THE_POOL = 2

# The names that dashboards, alerts and their readers rely on.
METRICS = {
    "headrace_jobs_finished_total",
    "headrace_job_duration_seconds",
    "headrace_job_wait_seconds",
    "headrace_jobs_in_progress",
    "headrace_queue_depth",
    "headrace_queue_oldest_age_seconds",
    "headrace_documents",
    "headrace_relay_lag_seconds",
    "headrace_leases_reaped_total",
    "headrace_pages_total",
    "headrace_chunks_total",
    "headrace_chunks_reused_total",
    "headrace_embedding_tokens_total",
    "headrace_pictures_total",
    "headrace_picture_bytes_total",
    "headrace_webhooks_total",
    "headrace_webhook_duration_seconds",
    "headrace_mails_total",
    "headrace_export_rows_total",
    "headrace_export_bytes_total",
    "headrace_erased_rows_total",
    "headrace_notifications_total",
    "headrace_database_pool_size",
    "headrace_database_pool_available",
    "headrace_database_pool_waiting",
    "headrace_database_up",
    "headrace_build_info",
}


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ours(compose):
    return {name: service for name, service in compose["services"].items() if name not in FOREIGN}


def run_tool(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def tool(name):
    """Find a console script in the tests' own environment, then on PATH."""
    return shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)


@pytest.fixture(scope="module")
def promtool():
    found = tool("promtool")
    if found is None:
        if os.environ.get("CI"):
            warnings.warn("promtool is missing in CI: Prometheus files are not checked", stacklevel=1)
        pytest.skip("promtool is not installed (Debian: it is in the package prometheus)")
    return found


def bytes_of(size):
    number, unit = re.fullmatch(r"(\d+)([mg])", size).groups()
    return int(number) * {"m": 2**20, "g": 2**30}[unit]


def test_the_compose_file_follows_the_compose_specification():
    result = run_tool(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE))

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_dockerfile_has_no_lint():
    result = run_tool(tool("hadolint"), str(DOCKERFILE))

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_variable_in_compose_is_a_setting(compose, ours):
    given = {name for service in ours.values() for name in service["environment"]}
    asked_from_outside = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text(encoding="utf-8")))

    assert given - SETTING_NAMES == set()
    assert asked_from_outside - SETTING_NAMES - COMPOSE_ONLY == set()


def test_every_secret_is_a_setting_and_reaches_the_containers(compose, ours):
    for service in ours.values():
        assert {name.upper() for name in service["secrets"]} <= SETTING_NAMES
        # A variable outranks the secret of the same name, unless it is empty.
        assert not any(service["environment"].get(name.upper()) for name in service["secrets"])


def test_the_secrets_that_compose_mounts_are_the_ones_that_make_writes(compose, tmp_path):
    spec = importlib.util.spec_from_file_location("make_secrets", ROOT / "deploy/make_secrets.py")
    make_secrets = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_secrets)

    written = make_secrets.make_secrets(tmp_path)
    values = {name: (tmp_path / name).read_text(encoding="utf-8") for name in written}

    assert set(written) == set(compose["secrets"])
    assert values["postgres_password"] in values["database_url"]
    assert make_secrets.make_secrets(tmp_path) == []
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in written} == values


def test_secrets_that_found_no_room_are_written_the_next_time(tmp_path):
    make = (
        "import resource, sys; from pathlib import Path; from deploy.make_secrets import make_secrets\n"
        "most = int(sys.argv[2]); resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))\n"
        "make_secrets(Path(sys.argv[1]))"
    )
    full = run_tool(sys.executable, "-B", "-c", make, str(tmp_path), "10")
    roomy = run_tool(sys.executable, "-B", "-c", make, str(tmp_path), "1000")

    assert (full.returncode, roomy.returncode) == (1, 0)
    assert len((tmp_path / "postgres_password").read_text(encoding="utf-8")) == 32


def test_every_container_is_confined(compose, ours):
    for name, service in compose["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys(), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    for name, service in ours.items():
        assert service["user"] == "10001:10001", name
        assert service["read_only"] is True, name
        assert service["init"] is True, name
        assert bool(service.get("ports")) is (name == "api"), name


def test_every_container_says_whether_it_is_well(compose):
    without = {name for name, service in compose["services"].items() if "test" not in service["healthcheck"]}

    assert without == {"migrate"}


class Well(BaseHTTPRequestHandler):
    """Answers 200 to probes."""

    def do_GET(self):
        self.send_response(200 if self.path in ("/healthz", "/livez") else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("name", ["worker-extract", "api"])
def test_a_container_asks_itself_past_any_proxy(ours, name):
    python, *arguments = ours[name]["healthcheck"]["test"][1:]
    assert python == "python"
    proxies = os.environ | {"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.0/8"}
    with ThreadingHTTPServer(("127.0.0.1", 0), Well) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        arguments = [re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{server.server_port}", each) for each in arguments]
        checked = subprocess.run([sys.executable, *arguments], capture_output=True, check=False, env=proxies)
        server.shutdown()

    assert checked.returncode == 0, checked.stderr.decode()


def test_workers_start_after_the_migration(ours):
    for name in ("worker-extract", "worker-index", "worker-email", "worker-media", "scheduler", "api"):
        assert ours[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_the_replicas_serve_every_queue(ours):
    queues = {
        name: make_argument_parser().parse_args(ours[name]["command"][1:]).queues
        for name in ("worker-extract", "worker-index", "worker-email", "worker-media")
    }

    assert queues == {
        "worker-extract": ["ingest_extract"],
        "worker-index": ["ingest_index", "maintenance", "webhooks", "exports", "notifications"],
        "worker-media": ["media"],
        "worker-email": ["email"],
    }
    assert ours["worker-extract"]["deploy"]["replicas"] == 5
    assert ours["worker-index"]["deploy"]["replicas"] == 3


def test_all_replicas_together_stay_below_the_connection_limit(compose, ours):
    limit = int(re.search(r"max_connections=(\d+)", " ".join(compose["services"]["postgres"]["command"])).group(1))
    needed = 0
    for name in ("worker-extract", "worker-index", "worker-email", "worker-media", "scheduler"):
        service = ours[name]
        command = service["command"]
        processes = make_argument_parser().parse_args(command[1:]).processes if command[0] == "dramatiq" else 1
        pool = int(service["environment"]["DATABASE_POOL_SIZE"])
        needed += service["deploy"]["replicas"] * processes * (pool + CONNECTIONS_BESIDE_THE_POOL)

    api = ours["api"]
    needed += api["deploy"]["replicas"] * int(api["environment"]["API_DATABASE_POOL_SIZE"])

    assert needed == 74, "the arithmetic at the top of docker-compose.yml is out of date"
    assert needed < limit / 2, "leave room for migrations and a rolling deployment that runs both versions"


def test_docker_waits_longer_than_the_worker_for_running_jobs(ours):
    for name in ("worker-extract", "worker-index", "worker-email", "worker-media"):
        milliseconds = make_argument_parser().parse_args(ours[name]["command"][1:]).worker_shutdown_timeout

        assert int(ours[name]["stop_grace_period"].removesuffix("s")) * 1000 > milliseconds + 10_000


def test_docker_waits_longer_than_the_api_for_running_requests(ours):
    assert int(ours["api"]["stop_grace_period"].removesuffix("s")) > SHUTDOWN_SECONDS + 5
    assert ours["api"]["command"] == ["headrace", "api"]
    assert f":{ours['api']['environment']['API_PORT']}/livez" in " ".join(ours["api"]["healthcheck"]["test"])


def test_a_worker_has_room_for_its_parsers(ours):
    parsers = Settings.model_fields["parser_memory_bytes"].default * Settings.model_fields["parser_processes"].default
    limit = bytes_of(ours["worker-extract"]["deploy"]["resources"]["limits"]["memory"])

    assert limit >= parsers + bytes_of("768m") + bytes_of("256m")


def test_a_worker_has_room_for_its_pictures(ours):
    makers = Settings.model_fields["media_memory_bytes"].default * Settings.model_fields["media_processes"].default
    limit = bytes_of(ours["worker-media"]["deploy"]["resources"]["limits"]["memory"])

    assert limit >= makers + bytes_of("768m") + bytes_of("256m")


def test_the_image_runs_as_nobody_in_particular():
    dockerfile = DOCKERFILE.read_text(encoding="utf-8")

    assert "USER 10001:10001" in dockerfile
    assert "--require-hashes" in dockerfile
    assert re.search(r'^CMD \["dramatiq",', dockerfile, re.MULTILINE)


def test_promtool_accepts_the_alerts(promtool):
    result = run_tool(promtool, "check", "rules", str(ALERTS))

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_fires_when_it_should_and_only_then(promtool):
    cases = (ROOT / "tests/architecture/alerts_test.yml").read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)", ALERTS.read_text(encoding="utf-8"))

    result = run_tool(promtool, "test", "rules", "tests/architecture/alerts_test.yml")

    assert result.returncode == 0, result.stdout + result.stderr
    assert [alert for alert in alerts if cases.count(alert) < 2] == []


def test_promtool_accepts_the_configuration(promtool):
    # The token's file exists only inside the container.
    result = run_tool(promtool, "check", "config", "--syntax-only", str(ROOT / "deploy/prometheus/prometheus.yml"))

    assert result.returncode == 0, result.stdout + result.stderr


def test_prometheus_scrapes_every_worker(ours):
    scraped = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text(encoding="utf-8"))
    names = scraped["scrape_configs"][0]["dns_sd_configs"][0]["names"]

    assert set(names) == {name for name, service in ours.items() if service.get("command", [""])[0] == "dramatiq"}


def test_the_code_declares_these_metrics_and_no_others():
    sources = [ROOT / "middleware/metrics.py", *sorted((ROOT / "adapters/exporter").glob("*.py"))]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    declared = set(re.findall(r'"(headrace_[a-z_]+)"', text))
    pool_gauges = {f"headrace_database_pool_{name}" for name in re.findall(r'_pool_gauge\("(\w+)"', text)}

    names = {name if name in METRICS else f"{name}_total" for name in declared} | pool_gauges

    assert names == METRICS


@pytest.mark.parametrize("path", [DASHBOARD, ALERTS], ids=lambda path: path.name)
def test_dashboard_and_alerts_ask_for_metrics_that_exist(path):
    asked = {
        re.sub(r"(?<=_seconds)_(bucket|sum|count)$", "", name)
        for name in re.findall(r"\bheadrace_\w+", path.read_text(encoding="utf-8"))
    }

    assert asked - METRICS == set()


def test_the_dashboard_shows_every_metric():
    text = DASHBOARD.read_text(encoding="utf-8")
    panels = json.loads(text)["panels"]

    assert {name for name in METRICS if name not in text} == set()
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
