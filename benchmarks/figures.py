"""A figure, what it has to be, and whether it is that."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number of one run, with the limit of the issue."""

    what: str
    value: float
    limit: float
    unit: str = "x"
    least: bool = False  # the limit is the least that is good enough, not the most

    @property
    def holds(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit

    def json(self) -> dict[str, Any]:
        return asdict(self) | {"holds": self.holds}


def show(title: str, figures: Sequence[Figure]) -> None:
    """A line for each."""
    print(f"\n{title:<58}{'measured':>12}{'limit':>16}")
    for one in figures:
        limit = f"{'at least' if one.least else 'at most'} {one.limit:g}"
        print(f"{one.what:<58}{one.value:>9.2f} {one.unit:<2}{limit:>16}  {'holds' if one.holds else 'DOES NOT HOLD'}")
    print(flush=True)


def summary(times: Sequence[float]) -> list[float]:
    """Median, p95 and number."""
    return [statistics.median(times), sorted(times)[min(len(times) - 1, int(len(times) * 0.95))], len(times)]


def timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000
