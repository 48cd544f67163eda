"""Values that stand for something else than brightness though the file does not say so."""

from __future__ import annotations

import numpy as np

# -9999 and the like, and what ISIS keeps at the end of the 16-bit numbers for null, saturated and
# the like.
_KNOWN = (-9999.0, -99999.0, -999.0, *range(-32768, -32763), -32752.0)
_HUGE = 1e30
# At either end no more than this many are looked at; beyond them at least so many values follow.
_MOST, _REST = 8, 16
# Share of the others' span (0.5 to 99.5 percent) that lies between them and a known one.
_KNOWN_GAP = 0.05
# Spans of all the others that lie between them and what is not known.
_GAP = 10.0


def special_values(samples: np.ndarray) -> dict[float, float]:
    """Extreme values of an image that repeat, far from all others.

    Args:
      samples: values of the image, [n], those that are known to be none left out.

    Returns:
      {value: its share of the samples, 0..1}, from the lowest up.
    """
    samples = samples[np.isfinite(samples)] if samples.dtype.kind == "f" else samples
    values, counts = np.unique(samples, return_counts=True)
    values = values.astype(np.float64)
    low = _ends(values, counts)
    high = _ends(-values[::-1], counts[::-1])
    chosen = [*range(low), *range(len(values) - high, len(values))]
    return {float(values[i]): float(counts[i] / counts.sum()) for i in chosen}


def named(special: dict[float, float]) -> str:
    """The values in words, for messages."""
    texts = [f"{value:.7g}" for value in special]
    text = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    verb = "stands" if len(texts) == 1 else "stand"
    return (f"{text} {verb} apart from all other values in {sum(special.values()):.2%} of its "
            "pixels without being declared as no-data; taken for that")


def _ends(values: np.ndarray, counts: np.ndarray) -> int:
    """How many of the lowest of the sorted values are special."""
    found = 0
    for i in range(min(_MOST, len(values) - _REST)):
        if counts[i] < 2:
            continue
        value, rest = values[i], values[i + 1:]
        places = np.cumsum(counts[i + 1:])
        low, high = rest[np.searchsorted(places, np.array([0.005, 0.995]) * places[-1])]
        gap = rest[0] - value
        if (gap > _GAP * (rest[-1] - rest[0]) or abs(value) >= _HUGE > abs(rest[0])
                or (value in _KNOWN and gap > _KNOWN_GAP * (high - low))
                or (value < 0 <= rest[0] and gap > high - low)):
            found = i + 1
    return found
