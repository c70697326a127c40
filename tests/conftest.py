"""Fixtures that every room may use."""

import logging

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.postgres import postgres_server

__all__ = ["logs_as_they_were", "postgres_server"]

# Machines are shared: how long one example takes by the wall clock says nothing of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture(autouse=True)
def logs_as_they_were(monkeypatch):
    """Let no logger keep the stream of a command under test: it is closed when that ends."""
    configure, root = structlog.configure, logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def without_cache(**given):
        configure(**given | {"cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", without_cache)
    yield
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level
