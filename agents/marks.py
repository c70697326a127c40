"""What a run's processes are known by, for every agent; nothing but the standard library."""

from collections.abc import Mapping

MARK = "COMMONPOOL_RUN"
NODE_LABEL = "commonpool.io/node"


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what is the agent's own: its tokens, settings and Ray.

    `COMMONPOOL_INSTANCE` stays: `commonpool down` finds by it whatever is left of one.
    """
    return {
        key: value
        for key, value in environment.items()
        if key == "COMMONPOOL_INSTANCE" or not key.startswith(("COMMONPOOL_", "RAY_"))
    }
