"""Compile the planner's modules with mypyc, for the environment that runs this: `make compiled`.

It is done in a copy of the core, so that what a build is named by is what it was made of, and
a build appears whole or not at all. Builds of other sources stay: a working tree beside this
one may share the environment.
"""

import os
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from scheduler.compiled import BUILDS, CORE, MODULES, build_of


def main() -> None:
    """Build, unless there is a build of these very sources."""
    _complain()
    with tempfile.TemporaryDirectory(prefix="commonpool-planner-") as name:
        work = Path(name)
        core = work / "scheduler" / "core"
        shutil.copytree(CORE, core, ignore=shutil.ignore_patterns("__pycache__"))
        (core.parent / "__init__.py").touch()
        build = build_of(core)
        if not build.is_dir():
            BUILDS.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=BUILDS, prefix=".fresh-") as fresh:
                _compile(work, Path(fresh) / "built")
                (Path(fresh) / "built").replace(build)
    print(f"the planner is compiled: {build}")  # noqa: T201  # it reports to a terminal


def _complain() -> None:
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        sys.exit(f"{header} is missing, which C needs: apt-get install python3-dev")


def _compile(work: Path, into: Path) -> None:
    # Imported late: setuptools changes much of what is imported after it.
    from mypyc.build import mypycify  # noqa: PLC0415
    from setuptools import setup  # noqa: PLC0415

    os.chdir(work)
    modules = mypycify(
        ["--config-file=", *(f"scheduler/core/{name}.py" for name in MODULES)],
        opt_level="2",
        debug_level="0",
        group_name="commonpool_planner",
        target_dir=str(work / "c"),
    )
    setup(
        name="commonpool-planner",
        packages=[],
        ext_modules=modules,
        script_args=["--quiet", "build_ext", f"--build-lib={into}", f"--build-temp={work / 'o'}"],
    )


if __name__ == "__main__":
    main()
