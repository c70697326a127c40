"""What nvidia-smi says of the same GPUs: the other reader of the same driver."""

import re
import subprocess
from xml.etree import ElementTree as ET


class Smi:
    """One answer of `nvidia-smi -q -x`, by the path of its elements."""

    def __init__(self) -> None:
        said = subprocess.run(
            ["nvidia-smi", "-q", "-x"], capture_output=True, text=True, check=True, timeout=60
        )
        self.text = said.stdout
        self._log = ET.fromstring(said.stdout)  # noqa: S314  # NVIDIA's own program says it

    def of_system(self, path: str) -> str:
        """Return what stands above the GPUs, such as `driver_version`."""
        return self._log.findtext(path, "").strip()

    def gpu(self, uuid: str) -> "SmiGpu":
        """Return what it says of one GPU."""
        for element in self._log.iter("gpu"):
            if element.findtext("uuid") == uuid:
                return SmiGpu(element)
        raise AssertionError(f"nvidia-smi has no {uuid}")

    @property
    def uuids(self) -> list[str]:
        return [gpu.findtext("uuid", "") for gpu in self._log.iter("gpu")]


class SmiGpu:
    """One GPU's part."""

    def __init__(self, element: ET.Element) -> None:
        self._element = element

    def text(self, *paths: str) -> str:
        """Return the first of these that is there: names differ from driver to driver."""
        for path in paths:
            found = self._element.findtext(path)
            if found is not None:
                return found.strip()
        raise AssertionError(f"nvidia-smi says nothing of {paths}")

    def number(self, *paths: str) -> float | None:
        """Return its number without the unit; None where nvidia-smi has none."""
        found = re.match(r"-?\d+(\.\d+)?", self.text(*paths))
        return float(found[0]) if found else None

    @property
    def processes(self) -> dict[int, float | None]:
        """Return the MiB of each process by its pid."""
        found = {}
        for process in self._element.iter("process_info"):
            used = re.match(r"\d+", process.findtext("used_memory", ""))
            found[int(process.findtext("pid", "0"))] = float(used[0]) if used else None
        return found
