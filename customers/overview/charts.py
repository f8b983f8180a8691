"""Pictures as numbers: where each bar stands, in percent of the picture, for the attributes of an SVG.

Knows nothing of customers: counts and words in, geometry out. Colours are classes of the style sheet.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

GAP = 0.7  # percent, between the pieces of one column
SLIMMEST = 1.2  # percent: what is there at all can be seen


@dataclass(frozen=True)
class Stack:
    """One column before it is drawn: what it says, where it leads, and (class, count) from the ground up."""

    words: str
    url: str
    parts: tuple[tuple[str, int], ...]
    label: str = ""  # under it, on the axis

    @property
    def height(self) -> int:
        return sum(count for _, count in self.parts)


@dataclass(frozen=True)
class Rect:
    """A rectangle; lengths are percentages of the picture, "12.5%"."""

    css: str
    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True)
class Column:
    """A column as it is drawn; `hit` is what a pointer finds, as high as the picture."""

    words: str
    url: str
    rects: tuple[Rect, ...]
    hit: Rect


@dataclass(frozen=True)
class Columns:
    """A chart of columns with its two axes."""

    columns: tuple[Column, ...]
    ticks: tuple[int, ...]  # the greatest first, 0 last
    labels: tuple[tuple[str, str], ...]  # (where, word)


@dataclass(frozen=True)
class Slice:
    """One part of a bar that lies down, and its line of the legend."""

    label: str
    url: str
    count: int
    css: str
    rect: Rect


def columns(stacks: Sequence[Stack]) -> Columns:
    """Columns side by side, as high as the axis allows. Empty ones are left out: there is nothing to list."""
    top = _round_up(max((stack.height for stack in stacks), default=0))
    width = 100 / len(stacks)
    drawn = tuple(_column(stack, n * width, width, top) for n, stack in enumerate(stacks) if stack.height)
    labels = tuple((_percent((n + 0.1) * width), stack.label) for n, stack in enumerate(stacks) if stack.label)
    return Columns(drawn, (top, top // 2, 0), labels)


def _column(stack: Stack, x: float, width: float, top: int) -> Column:
    rects: list[Rect] = []
    ground = 100.0
    for css, count in stack.parts:
        if not count:
            continue
        height = 100 * count / top
        drawn = max(height - (GAP if rects else 0), SLIMMEST)  # what a gap takes, it takes from the upper piece
        rects.append(
            Rect(css, _percent(x + width * 0.1), _percent(ground - height), _percent(width * 0.8), _percent(drawn))
        )
        ground -= height
    hit = Rect("hit", _percent(x), "0%", _percent(width), "100%")
    return Column(stack.words, stack.url, tuple(rects), hit)


def slices(parts: Iterable[tuple[str, str, int, str]]) -> list[Slice]:
    """One bar from (label, url, count, class), each as wide as its share; nothing that is there is too slim to see."""
    given = list(parts)
    whole = sum(count for _, _, count, _ in given) or 1
    widths = [max(100 * count / whole, SLIMMEST) if count else 0.0 for _, _, count, _ in given]
    shrink = 100 / (sum(widths) or 1)
    found, x = [], 0.0
    for (label, url, count, css), width in zip(given, widths, strict=True):
        rect = Rect(css, _percent(x), "0%", _percent(max(width * shrink - 0.4, 0)), "100%")
        found.append(Slice(label, url, count, css, rect))
        x += width * shrink
    return found


def lines(parts: Iterable[tuple[str, str, int]]) -> list[Slice]:
    """Bars one under the other from (label, url, count); the longest is as long as the picture."""
    given = list(parts)
    most = max((count for _, _, count in given), default=0) or 1
    return [
        Slice(label, url, count, "c1", Rect("c1", "0%", "0%", _percent(max(100 * count / most, SLIMMEST)), "100%"))
        for label, url, count in given
    ]


def spread(labels: Sequence[str], apart: int) -> list[str]:
    """The labels of an axis without those that would run into the next one, or over the end of the axis."""
    places = [n for n, label in enumerate(labels) if label]
    near = {here for here, after in pairwise([*places, len(labels)]) if after - here < apart}
    return ["" if n in near else label for n, label in enumerate(labels)]


def _round_up(count: int) -> int:
    """The end of an axis: an even number that is easily halved, 2 at least."""
    size = 1
    while count > 10 * size:
        size *= 10
    return next(step * size for step in (2, 4, 6, 8, 10) if step * size >= count)


def _percent(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"
