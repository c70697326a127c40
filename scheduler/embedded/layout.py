"""Where one instance keeps things. Its data folder is its identity.

Every process of an instance carries `COMMONPOOL_INSTANCE` in its environment, inherited
by whatever it starts, so that `down` can prove that none is left.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from scheduler.embedded.trouble import Trouble

MARKER = "COMMONPOOL_INSTANCE"
DEFAULT_DATA = Path(".commonpool")


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders and files of the instance in `data` (absolute)."""

    data: Path

    @classmethod
    def of(cls, data: Path) -> "Layout":
        """Return the layout of a folder that need not exist yet."""
        return cls(data.expanduser().resolve())

    @property
    def instance(self) -> str:
        """Return the value of `COMMONPOOL_INSTANCE`: 10 hex digits of the folder's hash."""
        return hashlib.sha256(str(self.data).encode()).hexdigest()[:10]

    @property
    def tokens(self) -> Path:
        return self.data / "tokens"

    @property
    def run(self) -> Path:
        """Return the folder of process records."""
        return self.data / "run"

    @property
    def log(self) -> Path:
        return self.data / "log"

    @property
    def simulation(self) -> Path:
        """Return the folder of what is injected into simulated nodes."""
        return self.data / "simulation"

    @property
    def policy(self) -> Path:
        """Return the copy of the policy that `up` applied, for people to edit and re-apply."""
        return self.data / "policy.yaml"

    @property
    def plan(self) -> Path:
        """Return the file that tells the supervisor what to start."""
        return self.run / "plan.json"

    @property
    def hub_url(self) -> Path:
        """Return the file that holds the hub's address while the instance is up."""
        return self.data / "hub.url"

    @property
    def ray(self) -> Path:
        """Return a short folder for Ray's sockets, whose paths may have 107 bytes at most."""
        return Path("/tmp") / f"cp-{self.instance}"  # noqa: S108  # made with mode 0700, ours by name

    def site(self, site: str) -> Path:
        """Return the folder of one site agent's state."""
        return self.data / "sites" / site

    def token(self, name: str) -> str:
        """Return a token that `up` made.

        Raises:
            Trouble: there is no such file; the names that exist are listed.
        """
        file = self.tokens / f"{name}.token"
        try:
            return file.read_text().strip()
        except OSError as error:
            known = sorted(path.stem for path in self.tokens.glob("*.token"))
            raise Trouble(
                f"there is no token of {name!r} in {self.tokens}",
                f"tokens there: {', '.join(known)}" if known else "commonpool up makes them",
            ) from error

    def make(self) -> None:
        """Make the folders; the data folder and the tokens are for their owner only.

        Raises:
            Trouble: the folder cannot be made or written.
        """
        try:
            for folder in (self.data, self.tokens, self.run, self.log, self.ray):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.run / ".writable"
            probe.write_text("")
            probe.unlink()
        except OSError as error:
            raise Trouble(
                f"the data folder {self.data} cannot be written: {error.strerror}",
                "name another one with --data DIR",
            ) from error
        if self.ray.stat().st_uid != self.data.stat().st_uid:
            raise Trouble(f"{self.ray} belongs to somebody else", "remove it, then try again")
