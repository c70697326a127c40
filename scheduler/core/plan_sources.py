"""What a run is planned by, each with its source: FLOP per token, and dated thresholds (R16, R17).

Rows are told to people beside their own run, and never decide by themselves: which threshold
needs an approval is the policy's business. A row that no longer holds keeps its dates.
"""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Alpha:
    """FLOP per parameter and token of one kind of work."""

    value: float
    name: str
    source: str


ALPHAS = (
    Alpha(6, "training of all weights", "Kaplan et al. 2020, section 2.1: 2 forward, 4 backward"),
    Alpha(8, "training, all activations computed again", "the same, with a second forward pass"),
    Alpha(4, "fine-tuning with frozen weights (LoRA)", "2 forward, 2 for activations' gradients"),
    Alpha(2, "inference", "Kaplan et al. 2020, section 2.1: the forward pass alone"),
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """An amount of training compute that some text attaches duties to; `until` None: it holds."""

    flop: float
    name: str
    source: str
    since: date
    until: date | None = None

    def holds(self, on: date) -> bool:
        """Return whether it is in force on a day."""
        return self.since <= on and (self.until is None or on < self.until)


THRESHOLDS = (
    Threshold(
        1e23,
        "EU: general-purpose AI model, indicative",
        "European Commission, guidelines on general-purpose AI models, 18 July 2025, section 2.1",
        date(2025, 8, 2),
    ),
    Threshold(
        1e23,
        "US: models of biological sequences (rescinded)",
        "Executive Order 14110, section 4.2(b)(i), 30 October 2023",
        date(2023, 10, 30),
        date(2025, 1, 20),
    ),
    Threshold(
        1e25,
        "EU: presumed systemic risk",
        "Regulation (EU) 2024/1689, Article 51(2); its chapter V applies from 2 August 2025",
        date(2025, 8, 2),
    ),
    Threshold(
        1e26,
        "US: dual-use foundation models (rescinded)",
        "Executive Order 14110, section 4.2(b)(i), 30 October 2023",
        date(2023, 10, 30),
        date(2025, 1, 20),
    ),
    Threshold(
        1e26,
        "California: frontier models",
        "California SB 53, Transparency in Frontier Artificial Intelligence Act, 2025",
        date(2026, 1, 1),
    ),
)
