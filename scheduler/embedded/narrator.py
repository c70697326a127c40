"""Says what happens while it happens: a spinner on a terminal, plain lines elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class Narrator:
    """Progress of `up` and `down`, one line for each thing done."""

    def __init__(self, console: Console, *, silent: bool = False) -> None:
        """Write to `console`; a silent narrator says nothing."""
        self._console = console
        self._silent = silent

    def quiet(self) -> "Narrator":
        """Return one that says nothing, for work that is only a part of something else."""
        return Narrator(self._console, silent=True)

    @contextmanager
    def waiting(self, words: str) -> Iterator[None]:
        """Show what is waited for, while it is."""
        if self._silent or not self._console.is_terminal:
            yield
            return
        with self._console.status(f"waiting: {escape(words)}"):
            yield

    def done(self, words: str, seconds: float | None = None) -> None:
        """Say that something is done, and how long it took where that was felt."""
        took = f" [dim]{seconds:.1f} s[/dim]" if seconds is not None and seconds >= 1 else ""
        self._print(f"[green]✓[/green] {escape(words)}{took}")

    def note(self, words: str) -> None:
        """Say something that is not an achievement."""
        self._print(f"[yellow]·[/yellow] {escape(words)}")

    def _print(self, line: str) -> None:
        if not self._silent:
            self._console.print(line, highlight=False, soft_wrap=True)
