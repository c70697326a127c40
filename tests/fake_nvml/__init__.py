"""A stand-in for NVIDIA's `libnvidia-ml.so.1`, compiled at test time: see `fake_nvml.c`."""

import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "fake_nvml.c"
NAME = "libnvidia-ml.so.1"
_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{NAME}")


def build(folder: Path, *, old: bool = False) -> Path:
    """Compile the library into `folder` and return its path; `old`: as of driver R470."""
    compiler = shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("these tests compile a library: apt-get install gcc libc6-dev")
    library = folder / NAME
    kind = ("-DFAKE_NVML_OLD=1",) if old else ()
    command = (compiler, *_FLAGS, *kind, "-o", str(library), str(SOURCE), "-lpthread", "-lm")
    subprocess.run(command, check=True)
    return library


class State:
    """The file that says how the faked GPUs are; a change counts from the next call on."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.write()

    def write(self, text: str = "") -> None:
        """Replace the whole state: `[system]`, `[gpu]`, `[gpu.N]` and `[events]` sections."""
        spare = self.file.with_suffix(".new")
        spare.write_text(text, encoding="utf-8")
        spare.replace(self.file)
