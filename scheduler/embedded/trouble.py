"""What stops `up`, `down` or `demo`, said so that a person can act."""


class Trouble(Exception):  # noqa: N818  # what a person is in, not a program's error
    """One sentence of what is wrong, one of what to do, and where useful the evidence."""

    def __init__(self, what: str, next_step: str = "", evidence: str = "") -> None:
        """Keep the parts apart: the command line sets them apart too."""
        self.what = what
        self.next_step = next_step
        self.evidence = evidence
        super().__init__(what)
