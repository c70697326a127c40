"""Answers of the last moment, for all who ask the same: one look-up at a time, kept for a while.

For what is dear and changes little: a sum over leases, a count of all nodes. Who has to see what
was true after they asked uses `together.Together`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from scheduler.clock import Clock

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Answer]):
    answer: Answer
    began: float
    took: float


class Lately(Generic[Answer]):
    """Keeps the last answers, of so many questions at most."""

    def __init__(self, clock: Clock, keep: Callable[[float], float], most: int = 4) -> None:
        """`keep` says for how many seconds from its beginning an answer holds that took so long."""
        self._clock, self._keep, self._most = clock, keep, most
        self._turn = asyncio.Lock()
        self._kept: dict[Hashable, _Kept[Answer]] = {}

    async def of(self, question: Hashable, look: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return an answer that is young enough, else what `look` finds now.

        Raises:
            Exception: whatever `look` raises; nothing is kept then.
        """
        kept = self._young(question)
        if kept is not None:  # whoever looks for something else holds nobody up
            return kept.answer
        async with self._turn:
            kept = self._young(question)
            if kept is None:
                began = self._clock.monotonic()
                answer = await look()
                kept = _Kept(answer, began, self._clock.monotonic() - began)
                self._put(question, kept)
            return kept.answer

    def _young(self, question: Hashable) -> _Kept[Answer] | None:
        kept = self._kept.get(question)
        if kept is None or self._clock.monotonic() - kept.began >= self._keep(kept.took):
            return None
        return kept

    def _put(self, question: Hashable, kept: _Kept[Answer]) -> None:
        self._kept.pop(question, None)
        while len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[question] = kept
