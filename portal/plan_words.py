"""Amounts of a training run as people write and read them: 7B, 1.3T, 2e12."""

import re
from math import isfinite

_SIZES = {"k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}
_AMOUNT = re.compile(r"([0-9][0-9_,]*(?:\.[0-9]+)?(?:e\+?[0-9]{1,3})?)\s*([kmbgt])?", re.ASCII)


def amount(text: str) -> float:
    """Return the number that a text says.

    Raises:
        ValueError: it says none, or none above zero.
    """
    found = _AMOUNT.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"“{text.strip()[:40]}” is no amount: write 7B, 1.3T or 2e12")
    value = float(re.sub("[,_]", "", found[1])) * _SIZES.get(found[2] or "", 1.0)
    if not (isfinite(value) and value > 0):
        raise ValueError("it must be more than zero, such as 7B or 1e12")
    return value


def short(value: float) -> str:
    """Return an amount in the unit that people use: 109 M, 7 B, 1.5 T."""
    for size, unit in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if size <= value < 1e6 * size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def power(flop: float) -> str:
    """Return FLOP in powers of ten, as thresholds are written."""
    mantissa, _, exponent = f"{flop:.2g}".partition("e")
    if not exponent:
        return f"{flop:.2g}"
    return f"{mantissa}e{int(exponent)}" if mantissa != "1" else f"1e{int(exponent)}"


def days(length: float) -> str:
    """Return days in one unit: 40 min, 5 h, 12 days, 3 years."""
    for size, unit in ((730, " years"), (2, " days"), (1 / 12, " h")):
        if length >= size:
            scale = {" years": 365.25, " days": 1, " h": 1 / 24}[unit]
            return f"{length / scale:,.3g}{unit}"
    return f"{max(length * 1440, 1 / 60):.2g} min"
