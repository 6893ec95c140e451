"""docs/configuration.md and .env.example say exactly what the settings are."""

from pathlib import Path

import pytest

from adapters import configuration
from adapters.settings import Settings

ROOT = Path(__file__).parents[2]
REMEDY = "settings changed: run `make docs`"


def test_the_configuration_page_is_current():
    assert (ROOT / "docs/configuration.md").read_text(encoding="utf-8") == configuration.configuration_markdown(), (
        REMEDY
    )


def test_the_env_example_is_current():
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == configuration.env_example(), REMEDY


def test_every_setting_is_described_with_an_example():
    undescribed = [name for name, field in Settings.model_fields.items() if not field.description or not field.examples]

    assert undescribed == []


def test_a_copy_of_the_env_example_changes_nothing():
    lines = configuration.env_example().splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == []


def test_every_setting_is_in_both_files():
    for name in Settings.model_fields:
        assert f"| `{name.upper()}` |" in configuration.configuration_markdown()
        assert f"\n#{name.upper()}=" in configuration.env_example()


def test_a_setting_without_a_group_is_named(monkeypatch):
    monkeypatch.setattr(configuration, "GROUPS", configuration.GROUPS | {"Chunks": ("chunk_tokens",)})

    with pytest.raises(LookupError, match="chunk_overlap_tokens"):
        configuration.configuration_markdown()


def test_writing_fills_both_files(tmp_path):
    (tmp_path / "docs").mkdir()

    configuration.write(tmp_path)

    assert (tmp_path / "docs/configuration.md").read_text(encoding="utf-8") == configuration.configuration_markdown()
    assert (tmp_path / ".env.example").read_text(encoding="utf-8") == configuration.env_example()
