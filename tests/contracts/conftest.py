"""The ledger's contract runs over the same rails as the integration tests."""

from tests.integration.conftest import module_rails, own_rails, rails

__all__ = ["module_rails", "own_rails", "rails"]
