"""A real Valkey for a whole module."""

from tests.unit.cache.conftest import folder, link, server  # noqa: F401 - fixtures
