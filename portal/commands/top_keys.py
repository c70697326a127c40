"""Single keys of a terminal, without Enter; the terminal is as it was afterwards."""

import os
import select
import sys
import termios
import tty
from typing import Self, TextIO


class Keys:
    """Reads keys while it is open. Ctrl-C still ends the program."""

    def __init__(self, terminal: TextIO = sys.stdin) -> None:
        self._number = terminal.fileno()
        self._before = termios.tcgetattr(self._number)

    def __enter__(self) -> Self:
        """Let keys come one by one, and not be shown."""
        tty.setcbreak(self._number)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the terminal back as it was."""
        termios.tcsetattr(self._number, termios.TCSADRAIN, self._before)

    def within(self, seconds: float) -> str:
        """Return the keys that were pressed within so many seconds, at the first; else none."""
        ready, _, _ = select.select([self._number], [], [], seconds)
        return os.read(self._number, 64).decode(errors="replace") if ready else ""
