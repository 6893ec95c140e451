"""The benchmark's arithmetic and what it writes: a figure that was not measured is never a number."""

import json
from xml.etree import ElementTree

import pytest

pytest.importorskip("pymupdf")

from benchmarks.charts import draw_charts
from benchmarks.figures import RATIOS, TARGETS, met, paired, percentile, ratios_of, summary
from benchmarks.report import BEGIN, END, SENTENCES, full_report, readme_section, replace_section
from benchmarks.results import Results, read, write_all
from benchmarks.sizes import FULL, QUICK

MACHINE = {"processor": "a processor", "cores": 2, "memory_gib": 8.0, "system": "Linux", "load_before": 0.1}

BULK = {
    "unit": "pages/s",
    "better": "higher",
    "contenders": {
        "headrace": {"rounds": [400.0, 420.0], "median": 410.0},
        "bare": {"rounds": [500.0, 400.0], "median": 450.0},
        "langchain_1": None,
    },
    "ratios": {"bulk_vs_limit": 0.9251, "bulk_vs_langchain_1": None},
}


def some_results(**fields):
    results = Results.start(QUICK, MACHINE, note="taken by a test")
    results.add("bulk_local", BULK, seconds=12.3, skipped={"langchain_1": "not installed: langchain_postgres"})
    for name, value in fields.items():
        setattr(results, name, value)
    return results


def as_json(results):
    return json.loads(json.dumps(results.__dict__))


def test_ratios_are_taken_round_by_round():
    assert paired([400, 300, 100], [200, 100, 100]) == 2.0


def test_there_is_no_ratio_without_the_other():
    assert paired([400], None) is None
    assert paired(None, [400]) is None
    assert paired([400], []) is None


@pytest.mark.parametrize(("share", "found"), [(0.5, 5), (0.95, 10), (0.9, 9), (0.99, 10)])
def test_a_percentile_is_a_sample(share, found):
    assert percentile(range(1, 11), share) == found


def test_a_summary_tells_how_many_samples_it_has():
    assert summary([3.0, 1.0, 2.0]) == {"p50": 2.0, "p95": 3.0, "samples": 3}


def test_every_promised_ratio_is_there_measured_or_not():
    assert list(ratios_of({})) == list(RATIOS)
    assert set(ratios_of({}).values()) == {None}
    assert ratios_of({"bulk_local": BULK})["bulk_vs_limit"] == 0.9251


def test_an_unknown_ratio_is_refused():
    with pytest.raises(KeyError):
        ratios_of({"bulk_local": {"ratios": {"bulk_vs_hope": 1.0}}})


def test_every_ratio_has_a_sentence_and_every_target_a_ratio():
    assert set(SENTENCES) == set(RATIOS)
    assert set(TARGETS) <= set(RATIOS)


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("bulk_vs_limit", 0.9, True),
        ("bulk_vs_limit", 0.89, False),
        ("pickup_p95_ms", 10.5, False),
        ("pickup_p95_ms", None, None),
        ("rails_vs_bullmq", 0.1, None),
    ],
)
def test_a_target_is_met_or_missed_or_not_asked(name, value, verdict):
    assert met(name, value) is verdict


def test_the_report_says_what_was_skipped_missed_and_not_measured():
    report = full_report(as_json(some_results()))

    assert "Skipped langchain_1: not installed: langchain_postgres." in report
    assert "**Note: taken by a test**" in report
    assert "| langchain_1 | not measured |" in report
    assert "| `rails_vs_celery` | no-op jobs a second, against Celery | not measured | >= 1.0 |  |" in report


def test_the_report_names_what_was_measured_at_other_sizes():
    results = some_results()
    results.suites["scale"] = {"reduced": {"page_cost_1m_vs_10k_chunks": "20,000 against 2,000"}, "figures": {}}

    assert "Smaller than meant (page_cost_1m_vs_10k_chunks): 20,000 against 2,000." in full_report(as_json(results))


def test_a_quick_run_says_so_in_the_readme():
    assert "A quick run" in readme_section(as_json(some_results()))
    assert "A quick run" not in readme_section(as_json(some_results(mode="full")))


def test_a_section_replaces_what_stood_between_its_markers():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert replace_section(text, "new \\1\n") == f"before\n{BEGIN}\nnew \\1\n{END}\nafter\n"


def test_markers_within_a_line_are_no_markers() -> None:
    text = f"between `{BEGIN}` and\n{BEGIN}\nold\n{END}\n"
    assert replace_section(text, "new") == f"between `{BEGIN}` and\n{BEGIN}\nnew\n{END}\n"


def test_a_section_without_markers_is_refused():
    with pytest.raises(ValueError, match="no <!-- benchmarks -->"):
        replace_section("before", "new")


def test_charts_are_well_formed_and_leave_out_what_has_no_figure():
    drawings = draw_charts(as_json(some_results()))

    assert list(drawings) == ["bulk_local"]
    root = ElementTree.fromstring(drawings["bulk_local"])
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Bulk, local embedder: pages a second", "Headrace", "410", "bare limit", "450"]


def test_results_survive_a_round_trip(tmp_path):
    write_all(some_results(), tmp_path / "latest.json")

    assert read(tmp_path / "latest.json") == some_results(
        taken_at=read(tmp_path / "latest.json").taken_at, suites=read(tmp_path / "latest.json").suites
    )
    assert {path.name for path in tmp_path.iterdir()} == {"latest.json", "latest.md", "latest-bulk_local.svg"}


def test_a_later_suite_joins_the_results_of_the_same_kind_of_run(tmp_path):
    write_all(some_results(), tmp_path / "latest.json")
    later = Results.start(QUICK, MACHINE)
    later.add("idle", {"ratios": {"idle_p95_vs_compute": 1.5}}, seconds=1, skipped={})

    merged = later.merged_into(tmp_path / "latest.json")

    assert set(merged.suites) == {"bulk_local", "idle"}
    assert (merged.ratios["bulk_vs_limit"], merged.ratios["idle_p95_vs_compute"]) == (0.9251, 1.5)


def test_a_quick_suite_never_joins_a_full_run(tmp_path):
    write_all(some_results(mode="full"), tmp_path / "latest.json")
    later = Results.start(QUICK, MACHINE)

    assert later.merged_into(tmp_path / "latest.json").suites == {}


def test_the_full_sizes_are_those_in_the_ratios_names():
    assert (FULL.chunks, FULL.pending) == ((10_000, 1_000_000), (1_000, 1_000_000))
    assert (FULL.long_pdf_pages, FULL.documents_for_rss) == ((100, 5_000), (500, 10_000))
    assert (FULL.reservations, FULL.bulk_pages, FULL.idle_samples, FULL.flood) == (1_000_000, 5_000, 50, 5_000)
