"""Wait for a condition, with a deadline; never for a time."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")
_PAUSE = 0.02


async def eventually(predicate: Callable[[], _T | Awaitable[_T]], seconds: float = 10) -> _T:
    """Return the predicate's first true value; fail when `seconds` pass without one.

    The predicate may be a coroutine function. A failed assertion inside it is "not yet".
    """
    deadline = time.monotonic() + seconds
    while True:
        last: object = None
        try:
            value = predicate()
            result = await value if inspect.isawaitable(value) else value
            if result:
                return result
            last = result
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds} s; last seen: {last!r}")
        await asyncio.sleep(_PAUSE)


def until(predicate: Callable[[], _T], seconds: float = 10) -> _T:
    """Return the predicate's first true value; fail when `seconds` pass without one."""
    deadline = time.monotonic() + seconds
    while True:
        last: object = None
        try:
            result = predicate()
            if result:
                return result
            last = result
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {seconds} s; last seen: {last!r}")
        time.sleep(_PAUSE)
