"""Tab in a real zsh, at a terminal of its own: commands, and ids and names from the hub."""

import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import termios
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.portal.conftest import NOBODY_LISTENS
from tests.portal.test_completion import env, script

__all__ = ["env"]
pytestmark = pytest.mark.skipif(
    shutil.which("zsh") is None, reason="zsh is not installed: apt-get install zsh"
)
SECONDS = 30  # of a whole process for each Tab, on a busy machine
# The words of the line, printed by Control-X: what Tab has made of what was typed.
SETUP = """\
PS1='ready> '; unsetopt beep; autoload -Uz compinit; compinit -u -d {folder}/dump
said() {{ print -r -- "<<$BUFFER>>"; BUFFER=; zle redisplay }}
zle -N said; bindkey '^X' said; bindkey '^T' list-choices
source {folder}/completion.zsh; print -r -- loa''ded
"""
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[=>]|\][^\x07]*\x07)")


class Terminal:
    """A zsh, and what it has written so far."""

    def __init__(self, master):
        self.master = master
        self.text = ""

    def type(self, keys):
        os.write(self.master, keys.encode())

    def read_until(self, pattern):
        """Read on until a pattern has been written; return the match, and forget what was read."""
        ends = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.text)):
            left = ends - time.monotonic()
            ready = left > 0 and select.select([self.master], [], [], left)[0]
            assert ready, f"no {pattern!r} within {SECONDS} s in {self.text!r}"
            piece = os.read(self.master, 65_536).decode(errors="replace")
            self.text = ESCAPES.sub("", self.text + piece)
        self.text = self.text[found.end() :]
        return found

    def completed(self, line):
        """Return what the line is after a Tab."""
        self.type(f"{line}\t\x18")
        return self.read_until(r"<<(.*)>>")[1].rstrip()


@contextmanager
def terminal(env, url):
    folder = env["XDG_CONFIG_HOME"]
    Path(folder, "completion.zsh").write_text(script(env, "zsh"), encoding="utf-8")
    said = env | {"COMMONPOOL_HUB": url, "COMMONPOOL_TOKEN": "cp_user_dana", "TERM": "xterm"}
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
    streams = {"stdin": slave, "stdout": slave, "stderr": slave}
    with subprocess.Popen(
        ["zsh", "-f", "-i"], env=said, cwd=folder, start_new_session=True, **streams
    ) as shell:
        os.close(slave)
        found = Terminal(master)
        try:
            found.type(SETUP.format(folder=folder))
            found.read_until("loaded\r?\n")
            yield found
        finally:
            shell.kill()
            os.close(master)


def test_commands_complete_without_a_hub(env):
    with terminal(env, NOBODY_LISTENS) as zsh:
        assert zsh.completed("commonpool can") == "commonpool cancel"
        assert zsh.completed("commonpool identity unl") == "commonpool identity unlink"


def test_ids_and_names_complete_from_the_hub(env, hub, hub_url):
    mine = sorted(job.id for job in hub.jobs.values() if job.user == "dana")
    begun = next(
        job[:n]
        for job in mine
        for n in range(1, len(job))
        if [one for one in mine if one.startswith(job[:n])] == [job]
    )
    whole = next(job for job in mine if job.startswith(begun))
    with terminal(env, hub_url) as zsh:
        assert zsh.completed(f"commonpool cancel {begun}") == f"commonpool cancel {whole}"
        assert zsh.completed("commonpool jobs --account arl-v").endswith(" arl-vision")
        assert zsh.completed("commonpool node list --pool state-u-h").endswith(" state-u-hpc")


def test_all_that_fit_are_listed(env, hub, hub_url):
    mine = sorted(job.id for job in hub.jobs.values() if job.user == "dana")
    with terminal(env, hub_url) as zsh:
        zsh.type("commonpool explain \x14")
        zsh.read_until("".join(rf"(?=[\s\S]*\b{re.escape(job)}\b)" for job in mine))


def test_while_the_hub_is_away_the_line_stays_as_it_was(env):
    with terminal(env, NOBODY_LISTENS) as zsh:
        assert zsh.completed("commonpool explain j") == "commonpool explain j"
