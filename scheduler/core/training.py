"""What a job trains, as far as thresholds of training compute look at it (R17)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Training:
    """A job's part of its model line in petaFLOP, and what the line `reaches` with it.

    Lines are an institution's own: another's of the same name is another line.
    """

    institution: str
    line: str
    pflop: int
    reaches: int
