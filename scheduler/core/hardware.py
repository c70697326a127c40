"""What a GPU is worth, by date: the table behind H100-equivalents (R15).

Rows are never edited, only superseded, so a new row changes no old bill.

Source: NVIDIA and Google data sheets, dense figures without sparsity; each row
names its own.
"""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

H100E = 1000
"""One H100-equivalent in the integer unit that factors are counted in."""


@dataclass(frozen=True, slots=True)
class Hardware:
    """A GPU model in one form factor. `factor` is in thousandths of an H100 SXM."""

    model: str
    form_factor: str
    precision: str
    dense_tflops: float
    memory_gib: int
    factor: int
    valid_from: datetime
    valid_to: datetime | None
    source: str


_EPOCH = datetime(2017, 1, 1, tzinfo=UTC)


def _row(
    model: str, form: str, tflops: float, memory_gib: int, factor: int, source: str
) -> Hardware:
    precision = "fp16" if model == "V100" else "bf16"
    return Hardware(model, form, precision, tflops, memory_gib, factor, _EPOCH, None, source)


TABLE: tuple[Hardware, ...] = (
    _row("H100", "SXM5", 989.4, 80, 1000, "NVIDIA H100 data sheet"),
    _row("H200", "SXM5", 989.4, 141, 1000, "NVIDIA H200 data sheet"),
    _row("B200", "SXM6", 2250.0, 180, 2274, "NVIDIA DGX B200 data sheet"),
    _row("A100", "SXM4", 312.0, 80, 315, "NVIDIA A100 data sheet"),
    _row("V100", "SXM2", 125.0, 32, 126, "NVIDIA V100 data sheet"),
    _row("TPUv4", "pod", 275.0, 32, 278, "Google Cloud TPU v4 documentation"),
    _row("TPUv2", "pod", 46.0, 16, 46, "Google Cloud TPU v2 documentation"),
)


def factor(table: tuple[Hardware, ...], model: str, now: datetime) -> int:
    """Return a model's H100e factor in thousandths, by the row valid at `now`.

    Raises:
        KeyError: no row of that model is valid then.
    """
    for row in table:
        ends = row.valid_to
        if row.model == model and row.valid_from <= now and (ends is None or now < ends):
            return row.factor
    raise KeyError(f"no hardware row for {model} at {now:%Y-%m-%d}")


def newest(table: Iterable[Hardware]) -> dict[str, Hardware]:
    """Return each model's newest row, by which jobs are sized: a bill goes by its date instead.

    Of rows that begin on one day the first counts, so a policy's own supersedes the table's.
    """
    rows: dict[str, Hardware] = {}
    for row in table:
        known = rows.get(row.model)
        if known is None or row.valid_from > known.valid_from:
            rows[row.model] = row
    return rows


class Factors:
    """The H100e factors of one model through time, found by bisection instead of by reading rows.

    A time at which no row is valid counts as an H100.
    """

    def __init__(self, table: tuple[Hardware, ...], model: str) -> None:
        rows = [row for row in table if row.model == model]
        ends = {row.valid_to for row in rows if row.valid_to is not None}
        self._since = sorted({row.valid_from for row in rows} | ends)
        # Before the first change nothing is valid; between two changes nothing changes.
        self._values = [H100E, *(_factor_or_one(table, model, at) for at in self._since)]

    def at(self, now: datetime) -> int:
        """Return the factor in thousandths of an H100 SXM."""
        return self._values[bisect_right(self._since, now)]


def _factor_or_one(table: tuple[Hardware, ...], model: str, now: datetime) -> int:
    try:
        return factor(table, model, now)
    except KeyError:
        return H100E
