"""The templates of `portal/templates`: a small real Ray program for each research challenge.

A template is a YAML file beside its program. It becomes a job request and a package of one
file, so whoever starts from it has something that runs, to change afterwards.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Annotated

import yaml
from pydantic import Field

from portal.working_dir import zipped_files
from scheduler.wire.jobs import JobRequest
from scheduler.wire.nodes import Message

CHALLENGES = (
    "Multimodality",
    "Distillation",
    "Edge",
    "Data and synthetic data",
    "Adaptation and fine-tuning",
    "Reasoning",
    "Interpretability",
    "Provenance",
    "Safety and alignment",
    "System of systems",
    "Benchmarking",
)
_METADATA = "template"


class TemplateFile(Message):
    """What a template's YAML says.

    `program` is a path in the distribution; absent, it is the Python file of the same name.
    `alpha` is FLOP per parameter and token (R16); null where no such model is trained or run.
    """

    title: Annotated[str, Field(min_length=1, max_length=60)]
    challenge: str
    purpose: Annotated[str, Field(min_length=1, max_length=200)]
    entrypoint: str
    program: str | None = None
    nodes: int = Field(default=1, ge=1)
    gpus_per_node: int = Field(default=1, ge=1)
    alpha: float | None
    checkpoint: str
    expected_seconds: int = Field(ge=1)
    time_limit: Annotated[str, Field(pattern=r"^[1-9][0-9]*m$")]


@dataclass(frozen=True, slots=True)
class Template:
    """A template by its name, with the text of its program."""

    name: str
    said: TemplateFile
    file: str
    program: bytes

    @property
    def time_limit_seconds(self) -> int:
        """Return the limit that its job asks for."""
        return 60 * int(self.said.time_limit.removesuffix("m"))

    def contents(self) -> Mapping[str, bytes]:
        """Return the files of its package, by name."""
        return {self.file: self.program}

    def package(self) -> bytes:
        """Return them as a zip: the same files always make the same bytes."""
        return zipped_files(self.contents())

    def request(self, account: str | None = None) -> JobRequest:
        """Return its job, without the package."""
        said: dict[str, object] = {
            "entrypoint": self.said.entrypoint,
            # Run times are foreseen by the name, so it is the template's, for everybody.
            "name": f"template-{self.name}",
            "nodes": self.said.nodes,
            "gpus_per_node": self.said.gpus_per_node,
            "time_limit_seconds": self.time_limit_seconds,
            "metadata": {_METADATA: self.name},
            **({"account": account} if account else {}),
        }
        return JobRequest.model_validate(said)


@cache
def templates() -> tuple[Template, ...]:
    """Return all templates, in the order of the challenges."""
    folder = files("portal") / "templates"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".yaml"))
    found = [_read(name.removesuffix(".yaml")) for name in names]
    return tuple(sorted(found, key=lambda one: (CHALLENGES.index(one.said.challenge), one.name)))


def template(name: str) -> Template | None:
    """Return the template of that name, if there is one."""
    return next((one for one in templates() if one.name == name), None)


def _read(name: str) -> Template:
    folder = files("portal") / "templates"
    said = TemplateFile.model_validate(yaml.safe_load((folder / f"{name}.yaml").read_text("utf-8")))
    path = PurePosixPath(said.program or f"portal/templates/{name}.py")
    # One distribution: `scheduler` lies in it too, and is read here, not imported.
    program = files(path.parts[0]).joinpath(*path.parts[1:]).read_bytes()
    return Template(name, said, path.name, program)
