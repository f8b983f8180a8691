"""Geometry of the pictures: nothing higher than its axis, nothing wider than its bar, and nothing too slim to see."""

import pytest

from customers.overview.charts import Stack, columns, lines, slices, spread


def percent(text):
    assert text.endswith("%")
    return float(text[:-1])


def drawn(*heights):
    return columns([Stack(f"{height}", "/x/", (("c1", height),)) for height in heights])


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [(0, (2, 1, 0)), (1, (2, 1, 0)), (3, (4, 2, 0)), (10, (10, 5, 0)), (11, (20, 10, 0)), (47, (60, 30, 0)),
     (81, (100, 50, 0)), (1_001, (2_000, 1_000, 0)), (65_536, (80_000, 40_000, 0))],
)  # fmt: skip
def test_an_axis_ends_at_a_round_number_that_is_easily_halved(highest, ticks):
    assert drawn(0, highest).ticks == ticks


def test_a_column_is_as_high_as_its_count():
    low, high = drawn(20, 40).columns
    assert [percent(rect.height) for rect in (*low.rects, *high.rects)] == [50, 100]
    assert [percent(rect.y) for rect in (*low.rects, *high.rects)] == [50, 0]


def test_the_pieces_of_a_column_stand_on_each_other():
    (column,) = columns([Stack("all", "", (("cbad", 5), ("c1", 0), ("c3", 5)))]).columns
    bottom, top = column.rects
    assert (bottom.css, top.css) == ("cbad", "c3")
    assert percent(bottom.y) == pytest.approx(50)
    assert percent(top.y) == pytest.approx(0)
    assert percent(top.height) < 50 - 0.5  # a gap tells them apart without colour
    assert (column.hit.y, column.hit.height, column.hit.width) == ("0%", "100%", "100%")


def test_one_of_thousands_can_be_seen():
    low = drawn(1, 80_000).columns[0].rects[0]
    assert percent(low.height) > 1
    assert percent(slices([("a", "", 1, "c1"), ("b", "", 99_999, "c2")])[0].rect.width) > 0.5
    assert percent(lines([("a", "", 1), ("b", "", 99_999)])[0].rect.width) > 1


def test_where_nothing_is_there_is_no_column():
    assert [column.words for column in drawn(0, 3, 0).columns] == ["3"]
    assert drawn(0, 0).columns == ()


@pytest.mark.parametrize("counts", [(5, 3, 2), (1, 1, 1_000_000), (0, 7, 0), (1,) * 60])
def test_slices_fill_their_bar_side_by_side(counts):
    found = slices([(str(n), "", count, "c1") for n, count in enumerate(counts)])
    at = 0.0
    for slice_ in found:
        assert percent(slice_.rect.x) >= at - 0.02
        at = percent(slice_.rect.x) + percent(slice_.rect.width)
    assert 98 < at <= 100
    assert [slice_.count for slice_ in found] == list(counts)


def test_nothing_at_all_is_drawn_without_a_fault():
    assert slices([]) == lines([]) == []
    assert [slice_.rect.width for slice_ in slices([("a", "", 0, "c1")])] == ["0%"]


def test_the_longest_line_is_as_long_as_the_picture():
    assert [percent(line.rect.width) for line in lines([("a", "", 200), ("b", "", 50)])] == [100, 25]


def test_labels_that_would_run_into_each_other_are_left_out():
    assert spread(["Nov", "Dec", "", "", "Jan 27", "", "", "Feb"], apart=2) == ["", "Dec", "", "", "Jan 27", "", "", ""]
