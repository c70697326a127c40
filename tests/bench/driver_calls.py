"""The C calls of one look at GPUs, made bare: what a look costs without any Python of ours."""

from collections.abc import Callable
from contextlib import contextmanager

import pynvml

from agents.node.session import Session

Calls = list[tuple[Callable[..., int], tuple[object, ...]]]


@contextmanager
def noting(calls: Calls):
    """Note each call into the driver; a session that is opened meanwhile goes on to be noted."""
    real = pynvml._nvmlGetFunctionPointer  # noqa: SLF001  # to see every call that is made

    def seen(name: str) -> Callable[..., int]:
        function = real(name)

        def noted(*arguments: object) -> int:
            calls.append((function, arguments))
            return int(function(*arguments))

        return noted

    pynvml._nvmlGetFunctionPointer = seen  # noqa: SLF001
    try:
        yield
    finally:
        pynvml._nvmlGetFunctionPointer = real  # noqa: SLF001


def driver_calls() -> tuple[Session, Callable[[], None]]:
    """Return what makes the C calls of one look at all GPUs, and the session that they are of."""
    calls: Calls = []
    session = Session()
    with noting(calls):
        uuids = [gpu.uuid for gpu in session.open().gpus]
        # The monitors compare with the look before: only from the second on all is asked.
        for _ in range(2):
            calls.clear()
            for uuid in uuids:
                session.sample(uuid, condition=False)
    made = tuple(calls)

    def make() -> None:
        for function, arguments in made:
            function(*arguments)

    return session, make
