"""Plan recordings again and say, as JSON, by what planner, how many cycles, and what differed."""

import json
import sys
from pathlib import Path

from scheduler.compiled import planner
from scheduler.replay.again import replay
from scheduler.replay.recording import read_recording


def main(folder: Path) -> None:
    found = [one for file in sorted(folder.rglob("*.gz")) for one in replay(read_recording(file))]
    differences = [one.difference for one in found if one.difference is not None]
    json.dump({"planner": planner(), "cycles": len(found), "differences": differences}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
