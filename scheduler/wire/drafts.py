"""A page's draft, as its own page wrote it (`/v1/drafts/{page}`)."""

from typing import Any

from pydantic import AwareDatetime, Field

from scheduler.wire.nodes import Message

MOST_BYTES = 64 * 1024


class Draft(Message):
    """What a person has begun to fill in. Only the page that wrote it knows what it means."""

    page: str
    content: dict[str, Any] = Field(description="Any JSON object, at most 64 KiB of it")
    updated_at: AwareDatetime


class DraftRequest(Message):
    """What to keep."""

    content: dict[str, Any] = Field(description="Any JSON object, at most 64 KiB of it")


class SubmitAgain(Message):
    """A stored job once more, with some fields changed (`POST /v1/jobs/{job}/again`)."""

    change: dict[str, Any] = Field(
        default_factory=dict,
        max_length=40,
        description="Fields of a job request in place of the stored ones",
        examples=[{"nodes": 2}],
    )
    replace: bool = Field(
        default=False, description="End the stored job, which must still wait, once this one is in"
    )
