"""The catalogue of jobs, their parameters, and the table of their states."""

from uuid import UUID, uuid4

import pytest

from domain.errors import InvalidJobError, JobUnavailableError, UnknownJobError
from domain.jobs import ALIASES, FINISHED, JOBS, TRANSITIONS, JobState, check_params, find_job, parse_uuid

DOCUMENT, WORKSPACE = uuid4(), uuid4()


def test_parameters_become_text_in_the_order_of_the_catalogue() -> None:
    params = {"workspace_id": WORKSPACE, "document_id": str(DOCUMENT).upper()}

    checked = check_params(find_job("extract_document"), params)

    assert list(checked.items()) == [("document_id", str(DOCUMENT)), ("workspace_id", str(WORKSPACE))]


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({}, "missing: document_id, workspace_id; unknown: none"),
        ({"document_id": DOCUMENT, "workspace_id": WORKSPACE, "a": 1}, "missing: none; unknown: a"),
        ({"document_id": "x", "workspace_id": WORKSPACE}, "extract_document.document_id must be a UUID, not 'x'"),
        ({"document_id": None, "workspace_id": WORKSPACE}, "must be a UUID, not None"),
        ({"document_id": 7, "workspace_id": WORKSPACE}, "must be a UUID, not 7"),
        ({"document_id": "x" * 5000, "workspace_id": WORKSPACE}, "must be a UUID"),
    ],
)
def test_wrong_parameters_are_named(params: dict[str, object], fault: str) -> None:
    with pytest.raises(InvalidJobError) as caught:
        check_params(find_job("extract_document"), params)

    assert fault in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_unknown_job_lists_the_known_ones() -> None:
    with pytest.raises(UnknownJobError) as caught:
        find_job("paint")

    assert "'paint'" in str(caught.value)
    assert all(name in str(caught.value) for name in JOBS)


def test_a_uuid_is_read_in_every_spelling() -> None:
    assert parse_uuid("id", str(DOCUMENT)) == parse_uuid("id", DOCUMENT) == parse_uuid("id", DOCUMENT.hex) == DOCUMENT


def test_only_finished_states_are_left_by_no_verb_but_a_replay() -> None:
    left = {source for verb, (sources, _) in TRANSITIONS.items() if verb != "replay" for source in sources}

    assert set(JobState) - left == FINISHED


def test_every_state_is_reached() -> None:
    assert {target for _, target in TRANSITIONS.values()} | {JobState.PENDING} == set(JobState)


def test_the_names_of_jobs_are_the_names_of_specs() -> None:
    assert all(name == spec.name for name, spec in JOBS.items())
    assert all(kind in (UUID, int, str) for spec in JOBS.values() for kind in spec.params.values())


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_an_alias_finds_its_job_or_says_that_it_is_not_here(alias: str, name: str) -> None:
    if name in JOBS:
        assert find_job(alias) is JOBS[name]
    else:
        with pytest.raises(JobUnavailableError, match=name):
            find_job(alias)


def test_no_alias_hides_a_job() -> None:
    assert not ALIASES.keys() & JOBS.keys()
