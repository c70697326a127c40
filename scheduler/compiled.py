"""The planner's modules as machine code, where `make compiled` built them from these very sources.

A build lies in the environment, in a folder that is named by what it was made of: all of the
core's text, and the interpreter. So a stale one is not found rather than run, several working
trees may share an environment, and without any build nothing is different. Everything but the
time it takes is the same: plans are equal to the byte (tests/replay/test_compiled.py).

`python -m scheduler.compiled SCRIPT …`, or `-m MODULE …`, runs anything with the compiled
planner, and refuses where there is none for these sources.
"""

import importlib
import importlib.machinery
import runpy
import sys
from hashlib import sha256
from pathlib import Path

MODULES = (
    "backfill",
    "budgets",
    "cells",
    "crossings",
    "cycle",
    "fairshare",
    "floor",
    "guests",
    "holding",
    "index",
    "leaving",
    "lending",
    "ordering",
    "pinning",
    "placement",
    "plan",
    "preemption",
    "quota",
    "reach",
    "recalling",
    "returns",
    "rooms",
    "shortage",
    "terms",
    "timeline",
    "trial",
    "turns",
    "use",
    "verdicts",
    "victims",
    "waiting",
    "windows",
    "wording",
    "world",
)
"""What is compiled: where planning spends its time.

The values that others see (model.py, policy.py, decisions.py, …) stay plain Python: compiled,
they would have no `__slots__` and could not be pickled. Modules with a `cached_property` must
stay so too: mypyc takes it for a property, and works it out each time. balance.py adds floats,
which the `sum` of later Pythons rounds in another way than mypyc's.
"""

CORE = Path(__file__).parent / "core"
BUILDS = Path(sys.prefix) / "lib" / "commonpool-planner"
_SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]


def build_of(core: Path = CORE) -> Path:
    """Return where a build of a core's sources for this interpreter lies, if there is one."""
    known = sha256(_SUFFIX.encode())
    for file in sorted(core.glob("*.py")):
        text = file.read_bytes()
        known.update(f"{file.name} {len(text)} ".encode())
        known.update(text)
    return BUILDS / known.hexdigest()[:32]


def prefer() -> bool:
    """Let the compiled modules be imported from now on; return whether there are any.

    Where some were imported as Python already it is too late: halves of both do not mix.
    """
    names = [f"scheduler.core.{name}" for name in MODULES]
    if not BUILDS.is_dir() or any(name in sys.modules for name in names):
        return False
    build = build_of()
    if not build.is_dir():
        return False
    sys.path.append(str(build))  # the shared library behind the modules is looked for there
    importlib.import_module("scheduler.core").__path__.insert(0, str(build / "scheduler/core"))
    return True


def planner() -> str:
    """Return what plans in this process: `compiled`, or `python`."""
    file = importlib.import_module("scheduler.core.plan").__file__
    return "compiled" if file is not None and file.endswith(_SUFFIX) else "python"


def is_outdated() -> bool:
    """Return whether somebody built a planner here, but none of these sources."""
    return BUILDS.is_dir() and not build_of().is_dir()


def _run() -> None:
    if len(sys.argv) == 1:
        sys.exit("python -m scheduler.compiled: name a script, or -m and a module, to be run")
    if not prefer():
        sys.exit(f"there is no build of these sources, {build_of()}: make it with `make compiled`")
    del sys.argv[0]
    if sys.argv[0] == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(str(Path(sys.argv[0]).resolve()), run_name="__main__")


if __name__ == "__main__":
    _run()
