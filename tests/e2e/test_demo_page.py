"""The demo page in a real Chromium. `SCREENSHOTS=folder` keeps the pictures."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from domain.api_keys import Scope
from tests.builders import a_pdf
from tests.e2e.conftest import IMPATIENT, Site
from tests.live_clients import Server, a_key, call, running_api
from tests.workers import running_workers

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")

#: Nothing is looked up outside of this machine.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--no-first-run", "--disable-quic"]  # fmt: skip

PATIENCE = 20_000  # milliseconds


@pytest.fixture(scope="module", autouse=True)
def workers(module_site: Site) -> Iterator[None]:
    with running_workers(module_site.environment | IMPATIENT, processes=1):
        yield


@pytest.fixture(scope="module")
def server(module_site: Site) -> Iterator[Server]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with running_api(module_site.environment, port) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


class Visit:
    """A page with everything that it complained about."""

    def __init__(self, browser, server: Server, **options) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda asked: self._note(asked.url, server.address))
        self.page.goto(f"http://{server.address}/demo")

    def _note(self, url: str, address: str) -> None:
        if f"//{address}/" not in url:
            self.elsewhere.append(url)

    def open(self, key: str) -> None:
        self.page.get_by_label("Key").fill(key)
        self.page.get_by_role("button", name="Open").click()
        self.page.get_by_text("Live", exact=True).wait_for()

    def upload(self, *files: tuple[str, bytes]) -> None:
        self.page.locator("#file").set_input_files(
            [{"name": name, "mimeType": "application/pdf", "buffer": content} for name, content in files]
        )

    def document(self, name: str, state: str):
        """Wait for a document to be in a state; return its row."""
        row = self.page.locator(f'#documents > li[data-state="{state}"]', has_text=name)
        row.wait_for()
        return row

    def picture(self, name: str, folder: Path) -> Path:
        path = Path(os.environ.get("SCREENSHOTS", folder)) / f"{name}.png"
        self.page.screenshot(path=path, full_page=True)
        return path

    @property
    def overflow(self) -> int:
        """How many pixels the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


@pytest.fixture
def visit(browser, server: Server):
    visits = []

    def open_page(**options) -> Visit:
        visits.append(Visit(browser, server, **options))
        return visits[-1]

    yield open_page
    for each in visits:
        each.context.close()


def a_contract() -> bytes:
    lines = ["The miller pays for the repair of the wheel.", "Water rights end with the year."]
    pages = ["\n".join(f"{line} ({page}.{number}, {uuid4().hex})" for number in range(12) for line in lines)
             for page in range(1, 6)]  # fmt: skip
    return a_pdf(*pages)


def test_a_visit(visit, site: Site, server: Server, tmp_path: Path) -> None:
    here = visit(viewport={"width": 1000, "height": 900})
    here.open(a_key(site.rails))
    here.upload(("contract.pdf", a_contract()), ("empty.pdf", a_pdf("", "")), ("notes.txt.pdf", b"no PDF at all"))

    ready = here.document("contract.pdf", "ready")
    failed = here.document("empty.pdf", "failed")
    refused = here.page.locator("#uploads > li", has_text="notes.txt.pdf").get_by_role("alert")
    refused.wait_for()
    here.page.get_by_label("Question").fill("Who pays for the repair?")
    here.page.get_by_role("button", name="Search").click()
    here.page.locator("#hits > li").first.wait_for()
    picture = here.picture("demo", tmp_path)

    assert "5 pages" in ready.inner_text()
    assert "no text layer" in failed.inner_text()
    assert "PDF" in refused.inner_text()
    assert "Page" in here.page.locator("#hits > li").first.inner_text()
    assert "repair" in here.page.locator("#hits mark").all_inner_texts()
    assert picture.stat().st_size > 10_000
    assert here.elsewhere == []
    assert [text for text in here.complaints if "415" not in text] == []  # the browser reports the refused upload


def test_what_others_do_appears_by_itself_and_across_a_restart(visit, site: Site, server: Server) -> None:
    here = visit()
    here.open(a_key(site.rails))
    name = f"{uuid4().hex}.pdf"
    site.upload(a_contract(), name=name)
    here.document(name, "ready")
    starts = len(server.starts)
    server.master.kill()
    server.wait_until(lambda: len(server.starts) > starts)
    name = f"{uuid4().hex}.pdf"
    site.upload(a_contract(), name=name)

    here.document(name, "ready")

    here.page.get_by_text("Live", exact=True).wait_for()


def test_a_document_that_is_deleted_disappears(visit, site: Site, server: Server) -> None:
    here = visit()
    key = a_key(site.rails)
    here.open(key)
    name = f"{uuid4().hex}.pdf"
    receipt = site.upload(a_contract(), name=name)
    row = here.document(name, "ready")
    call(server, "DELETE", f"/documents/{receipt.document_id}", key=key)

    row.wait_for(state="detached")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(visit, site: Site, server: Server, scheme: str, tmp_path: Path) -> None:
    here = visit(viewport={"width": 360, "height": 740}, color_scheme=scheme, device_scale_factor=2)
    assert here.overflow == 0
    here.picture(f"demo-phone-key-{scheme}", tmp_path)
    here.open(a_key(site.rails))
    name = f"a-name-without-any-place-to-break-it-{uuid4().hex}{uuid4().hex}.pdf"
    here.upload((name, a_contract()), ("scan.pdf", a_pdf("")))
    here.document(name, "ready")
    here.document("scan.pdf", "failed")
    here.page.get_by_label("Question").fill("repair of the wheel")
    here.page.get_by_role("button", name="Search").click()
    here.page.locator("#hits > li").first.wait_for()
    here.picture(f"demo-phone-{scheme}", tmp_path)

    ground = here.page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert here.overflow == 0
    assert (ground == "rgb(245, 247, 249)") == (scheme == "light")


def test_a_key_that_does_not_work_is_said_to(visit) -> None:
    here = visit()
    here.page.get_by_label("Key").fill("hr_nonsense")
    here.page.get_by_role("button", name="Open").click()

    here.page.get_by_role("alert").get_by_text("wrong, expired or revoked").wait_for()


def test_a_key_that_may_not_watch_is_said_to(visit, site: Site) -> None:
    here = visit()
    here.page.get_by_label("Key").fill(a_key(site.rails, Scope.READ_DOCUMENTS))
    here.page.get_by_role("button", name="Open").click()

    here.page.get_by_role("alert").get_by_text("lacks the scope events").wait_for()


def test_the_key_is_forgotten(visit, site: Site) -> None:
    here = visit()
    key = a_key(site.rails)
    here.open(key)
    here.page.get_by_role("button", name="Forget the key").click()
    here.page.get_by_label("Key").wait_for()

    kept = here.page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")

    assert key not in kept
    assert here.page.locator("#documents > li").count() == 0
    assert key not in here.page.content()


def test_it_is_served_under_a_strict_policy(server: Server) -> None:
    import urllib.request

    for name in ("/demo", "/demo/demo.js", "/demo/demo.css", "/demo/icon.svg"):
        with urllib.request.urlopen(f"http://{server.address}{name}") as answer:
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
    assert call(server, "GET", "/demo/..%2Fapp.py")[0] == 404
