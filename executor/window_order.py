"""Values by their place in the order of a frame: its n-th smallest one, and how many are below another.

For all rows at once, by a wavelet matrix (Claude, Navarro and Ordóñez 2015): the numbers of a column are parted by
their highest bit, then by the next, and a range of positions becomes one of zeros and one of ones each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from executor.window_keys import Positions
from executor.window_rows import Counted, Range
from planner.record import record


@record
class _Bit:
    """A step: ``zeros`` before each position and in all, where this ``bit`` of the numbers is looked at."""

    bit: int
    before: Positions
    all: int

    def zeros(self, part: Range) -> Range:
        """Where the zeros of a range are in the next step."""
        return self.before[part[0]], self.before[part[1]]

    def ones(self, part: Range, zeros: Range) -> Range:
        return self.all + part[0] - zeros[0], self.all + part[1] - zeros[1]


def _bits(numbers: Positions) -> Iterator[_Bit]:
    for bit in reversed(range(int(np.max(numbers, initial=0)).bit_length())):
        ones = (numbers >> bit) & 1 == 1
        before = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(~ones)))
        yield _Bit(bit, before, int(before[-1]))
        numbers = np.concatenate((numbers[~ones], numbers[ones]))


def nth_smallest(numbers: Positions, ranges: Sequence[Range], places: Sequence[Positions]) -> list[Positions]:
    """The numbers at ``places`` (from 0) of the sorted numbers in all ranges of each row, which hold so many.

    Args:
        numbers: not negative.
        ranges: of positions in ``numbers``.
        places: for each row one; several of them are looked up together.
    """
    found = [np.zeros(len(n), dtype=np.int64) for n in places]
    left = list(places)
    parts = [list(ranges) for _ in places]
    for step in _bits(numbers):
        for i, own in enumerate(parts):
            zeros = [step.zeros(part) for part in own]
            count = np.sum([end - start for start, end in zeros], axis=0)
            high = left[i] >= count
            found[i] |= np.where(high, 1 << step.bit, 0)
            left[i] = np.where(high, left[i] - count, left[i])
            parts[i] = [_either(high, step.ones(p, z), z) for p, z in zip(own, zeros, strict=True)]
    return found


def below(numbers: Positions, part: Range, limits: Positions) -> Positions:
    """How many numbers in the range of each row are smaller than its limit, which has no more bits than the largest
    number of all."""
    found = np.zeros(len(limits), dtype=np.int64)
    for step in _bits(numbers):
        zeros = step.zeros(part)
        high = (limits >> step.bit) & 1 == 1
        found += np.where(high, zeros[1] - zeros[0], 0)
        part = _either(high, step.ones(part, zeros), zeros)
    return found


def _either(condition: np.ndarray, a: Range, b: Range) -> Range:
    return np.where(condition, a[0], b[0]), np.where(condition, a[1], b[1])


def among(counted: Counted, ranges: Sequence[Range]) -> list[Range]:
    """Ranges of positions as ranges of those that count."""
    return [(counted.before[start], counted.before[end]) for start, end in ranges]
