"""Total score T of the paper, Eq. (8), and the parts it is made of: each measured, or not and why.

In percent, T = M / 100 * (0.2 A + 0.3 (S / 2 + 50) + 0.5 (100 - FID)); the challenge's rule takes a FID above 100 as 100.
Eight of the nine rows of the paper's Tables 1 and 2 agree with it to 0.01. The row IIDM does not: its M 94.15, A 50.43,
FID 30.75 and S 63.76 give T 65.22 where both tables print 65.27, 0.05 more.
"""
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class Measured:
    """A score in percent that was measured, or None and the reason.

    `stand_in`: the name of the instrument, when it is another one than the score is defined by (a small segmenter in place of
    SegFormer). Such a value is shown under that name and is no part of T.
    """
    value: Optional[float] = None
    reason: str = ""
    stand_in: str = ""

    def __post_init__(self):
        if (self.value is None) != bool(self.reason):
            raise ValueError(f"score: found value {self.value} and reason {self.reason!r}, expected one of the two")

    @property
    def counts(self):
        """Whether this is the score itself."""
        return self.value is not None and not self.stand_in

    def __str__(self):
        if self.value is None:
            return f"not measured: {self.reason}"
        return f"{self.value:.2f}" + (f" (by {self.stand_in}, not comparable)" if self.stand_in else "")


def total_score(m, a, fid, s):
    """T in percent, Eq. (8). m, a: 0 to 100; s: -100 to 100; fid: 0 or more. Raises ValueError outside of these."""
    for name, value, low, high in (("M", m, 0, 100), ("A", a, 0, 100), ("FID", fid, 0, float("inf")), ("S", s, -100, 100)):
        if not low <= value <= high:                                                    # a NaN is outside, too
            raise ValueError(f"total score: found {name} {value}, expected percent, {low} to {high}")
    return m / 100 * (0.2 * a + 0.3 * (0.5 * s + 50) + 0.5 * (100 - min(fid, 100)))


def total(m, a, fid, s):
    """T of four Measured -> Measured. It has a value only when all four were measured, none of them by a stand-in."""
    parts = {"M": m, "A": a, "FID": fid, "S": s}
    missing = [f"{name} is " + (f"by {part.stand_in}" if part.value is not None else "not measured")
               for name, part in parts.items() if not part.counts]
    if missing:
        return Measured(reason=", ".join(missing))
    return Measured(total_score(m.value, a.value, fid.value, s.value))
