"""Packages of runs: from the hub to this site's cache, and under our own name to Ray.

A package is named by the SHA-256 of its bytes; the name that the person's client gave it
is a short hash that anyone can collide. Source: notes/ray.md §1.4.
"""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex

from agents.hub import Hub, HubAway, HubRefused
from agents.site.failures import BackendRejected, BackendUnavailable
from agents.site.ray_jobs import RayHead
from scheduler.wire.sites import PackageRef

_PIECE = 256 * 1024


class PackageCache:
    """Packages on this site's disk, fetched once each."""

    def __init__(self, data: Path, hub: Hub, site: str) -> None:
        self._folder = data / "packages"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._hub, self._site = hub, site
        self._fetching: dict[str, asyncio.Lock] = {}

    async def fetch(self, packages: Iterable[PackageRef]) -> None:
        """Have all these packages here.

        Raises:
            BackendUnavailable: the hub cannot give one now.
            BackendRejected: the hub does not have one, or not the one that was meant.
        """
        for package in packages:
            async with self._fetching.setdefault(package.sha256, asyncio.Lock()):
                if not self._file(package).exists():
                    await self._download(package)

    async def deliver(self, head: RayHead, packages: Iterable[PackageRef]) -> dict[str, str]:
        """Give packages to a head; return {their URI in the job: their URI at the head}."""
        uris = {}
        for package in packages:
            name = f"_ray_pkg_{package.sha256}.zip"
            self._file(package).touch()  # It is in use: see `prune`.
            await head.deliver(name, self._pieces(package), self._file(package).stat().st_size)
            uris[package.uri] = f"gcs://{name}"
        return uris

    def prune(self, before: datetime) -> None:
        """Remove packages that were last delivered before an instant; they can be had again."""
        for file in self._folder.iterdir():
            if datetime.fromtimestamp(file.stat().st_mtime, UTC) < before:
                file.unlink(missing_ok=True)

    async def _download(self, package: PackageRef) -> None:
        spare = self._folder / f"{package.sha256}.{token_hex(4)}.new"
        digest = hashlib.sha256()
        try:
            with spare.open("wb") as out:
                async with aclosing(self._hub.package(self._site, package.sha256)) as pieces:
                    async for piece in pieces:
                        digest.update(piece)
                        out.write(piece)
                out.flush()
                os.fsync(out.fileno())
            if digest.hexdigest() != package.sha256:
                raise BackendUnavailable(f"{package.uri} arrived damaged")
            spare.replace(self._file(package))
        except HubAway as error:
            raise BackendUnavailable(f"{package.uri}: {error}") from error
        except HubRefused as error:
            raise BackendRejected(f"the hub does not give {package.uri}: {error}") from error
        finally:
            spare.unlink(missing_ok=True)

    async def _pieces(self, package: PackageRef) -> AsyncGenerator[bytes, None]:
        with self._file(package).open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece

    def _file(self, package: PackageRef) -> Path:
        return self._folder / package.sha256
