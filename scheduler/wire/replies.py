"""Reading what the hub answers: a newer hub may say more, and that is passed over.

Hubs are upgraded first, so whoever asks one may be older than it. Requests are held to their
messages to the letter; a reply is read for what the reader knows of it.
"""

from typing import TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

UPGRADE_FIRST = "If an agent sent it, the agent is newer than this hub: upgrade the hub first."
"""The next step for a field that a hub does not know."""


def reply_of(kind: type[M], raw: str | bytes) -> M:
    """Return an answer as a message, without what it has beyond that.

    Raises:
        pydantic.ValidationError: it is not this message, newer or not.
    """
    return kind.model_validate_json(raw, extra="ignore")
