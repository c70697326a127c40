"""The database fixtures of the room next door, and a hub's small world on them."""

import pytest

from scheduler.clock import SystemClock
from scheduler.wake import Wake
from tests.db.conftest import db, templates
from tests.db.small_hub import Hub

__all__ = ["db", "templates"]


@pytest.fixture
async def hub(db):  # the fixture of that name is what is meant
    """A policy, two nodes and no jobs, at the real time: the loops read the real clock."""
    hub = Hub(db, now=SystemClock().now())
    await hub.begin()
    return hub


@pytest.fixture
def wake():
    return Wake()
