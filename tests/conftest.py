"""Fixtures that every room may use."""

import logging

import pytest
import structlog

from tests.postgres import postgres_server

__all__ = ["logs_as_they_were", "postgres_server"]


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
