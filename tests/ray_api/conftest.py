from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.ray_api.live import Live, Site, live_hub


@pytest.fixture
async def live(tmp_path: Path) -> AsyncIterator[Live]:
    """A hub with a policy and no nodes yet: everything waits."""
    async with live_hub(tmp_path) as hub:
        yield hub


@pytest.fixture
async def site(live: Live) -> Site:
    """The lab's site, with its nodes reported."""
    made = Site(live)
    await made.report_nodes()
    return made
