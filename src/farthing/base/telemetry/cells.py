"""Where series keep their numbers: plain Python objects, added to by calls and read at a scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

#: One series' numbers in a snapshot: a value, or a histogram's counts per bucket with the sum at the end.
Numbers = list[float]
#: Series name → rows of label values with their numbers; what processes hand to each other.
Snapshot = dict[str, list[tuple[tuple[str, ...], Numbers]]]

_DECODER = msgspec.msgpack.Decoder(Snapshot)


class Cell:
    """A counter or a gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Count."""
        self.value += amount

    def set(self, value: float) -> None:
        """State."""
        self.value = value

    def numbers(self) -> Numbers:
        """For a snapshot."""
        return [self.value]

    def merge(self, numbers: Sequence[float]) -> None:
        """Add another process's."""
        self.value += numbers[0]


class Histogram:
    """Counts by bucket, not cumulative, and the sum of what was observed. bounds: ascending, upper."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0.0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value in its bucket."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def numbers(self) -> Numbers:
        """For a snapshot."""
        return [*self.counts, self.total]

    def merge(self, numbers: Sequence[float]) -> None:
        """Add another process's. Raises ValueError when its buckets are others."""
        for index, count in enumerate(numbers[:-1]):
            self.counts[index] += count
        self.total += numbers[-1]

    def cumulative(self) -> list[tuple[str, float]]:
        """Prometheus' buckets: upper bound as text, how many values were at most that."""
        rows, count = [], 0.0
        for bound, here in zip((*self.bounds, float("inf")), self.counts, strict=True):
            count += here
            rows.append(("+Inf" if bound == float("inf") else str(float(bound)), count))
        return rows


def encode(snapshot: Snapshot) -> bytes:
    """For another process."""
    return msgspec.msgpack.encode(snapshot)


def decode(data: bytes) -> Snapshot:
    """From another process. Raises msgspec.MsgspecError for bytes that are no snapshot."""
    return _DECODER.decode(data)


def summed(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Row by row; rows of different widths (another version's buckets) keep to the first's."""
    sums: dict[str, dict[tuple[str, ...], Numbers]] = {}
    for snapshot in snapshots:
        for name, rows in snapshot.items():
            mine = sums.setdefault(name, {})
            for labels, numbers in rows:
                have = mine.get(labels)
                if have is None:
                    mine[labels] = list(numbers)
                elif len(have) == len(numbers):
                    mine[labels] = [a + b for a, b in zip(have, numbers, strict=True)]
    return {name: list(rows.items()) for name, rows in sums.items()}
