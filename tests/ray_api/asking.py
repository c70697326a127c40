"""Submissions as a test states them: only what matters."""

import pytest

from scheduler.api.ray_jobs_request import parse
from scheduler.errors import Refused


def read(**body):
    return parse({"entrypoint": "true"} | body)


def ours(**metadata):
    return read(metadata={f"commonpool.{name}": text for name, text in metadata.items()}).request


def refusal(**body) -> Refused:
    with pytest.raises(Refused) as caught:
        read(**body)
    return caught.value
