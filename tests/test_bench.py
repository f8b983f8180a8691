"""The bench works; its figures are for people (docs/performance.md)."""

import json
import os
import subprocess
import sys

import pytest
from django.conf import settings

from benchmarks import run, sync
from benchmarks.figures import Figure, show

SEARCHES = ("search, many", "search, few", "search, no")


def bench(out, parts):
    """What `BENCH_SHORT=1 make bench` prints and writes, of these parts of it."""
    env = {name: value for name, value in os.environ.items() if name not in ("TEST_OWNER", "DATABASE_URL", "VAR_DIR")}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run"],
        cwd=settings.BASE_DIR,
        env=env | {"BENCH_SHORT": "1", "BENCH_PARTS": parts, "BENCH_OUT": str(out)},
        capture_output=True,
        text=True,
        timeout=480,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    for figure in found["figures"]:
        assert figure["what"] in done.stdout
        assert figure["value"] > 0 or figure["unit"] == "%"
        assert figure["holds"] in (True, False)
    return done, found


def test_the_short_bench_measures_every_page_of_the_list(tmp_path):
    done, found = bench(tmp_path / "bench.json", "lists")
    [lists] = found["lists"]
    assert lists["customers"] == 300
    assert len(lists["pages"]) == 9
    for name, page in lists["pages"].items():
        assert name in done.stdout
        assert set(page) == {"ours", "cold", "beside", "admin", "tables"}
        assert all(figure > 0 for figures in page.values() for figure in figures)
    assert [figure["limit"] for figure in found["figures"] if figure["what"].startswith("first page")] == [2, 5, 5]


def test_the_short_bench_measures_the_access_check_and_the_users_pages(tmp_path):
    _, found = bench(tmp_path / "bench.json", "access users")
    assert set(found["access"]) == {"may", "may not", "no relationship"}
    [users] = found["users"]
    assert set(users["steps"]) == {
        *"call ahead next back floor".split(),
        "rights cold",
        "rights warm",
        "large call",
        "large page",
        *SEARCHES,
    }
    for step in ("call", "rights cold", "rights warm", "ahead", "large call", "large page"):
        assert users["steps"][step][0] > 150  # which is how late each answer comes
    assert [figure["limit"] for figure in found["figures"]] == [2.2, 2.2, 2.2, 1.1, 2.4, 15, 15, 1.1, 2, 2, 2]


def test_the_short_bench_measures_the_sync_and_says_what_it_is_at(tmp_path):
    done, found = bench(tmp_path / "bench.json", "sync")
    [one] = found["sync"]
    assert set(one) == {"database", "customers", "floor", "first", "changed", "naive", "peak", "150 ms a page"}
    assert [figure["limit"] for figure in found["figures"]] == [1.3, 1.05, 15, 1.8, 8, 180]
    for words in ("600 + 600 rows: floor", "first load: ", "changed, the 3. time", "150 ms a page: ours"):
        assert words in done.stderr


@pytest.mark.torture  # it starts five workers one after the other
def test_the_short_bench_measures_runs(tmp_path):
    _, found = bench(tmp_path / "bench.json", "runs")
    [one] = found["runs"]
    assert one["one"]["asked"] >= one["rows"] == 6
    assert one["ten"]["asked"] >= 12
    assert one["lifted 1"]["seconds"] > 2 * 2 * 0.15  # one thread, and each answer comes so late
    assert [figure["limit"] for figure in found["figures"]] == [1.05, 1, 1.1, 1, 1.8]


def test_of_a_long_size_only_the_memory_is_a_figure():
    one = {"customers": 100, "floor": 1, "first": 10, "changed": 1.5, "naive": 70, "peak": 150}
    one["150 ms a page"] = {"floor": 10, "first": 12, "changed": 11}
    found = [one, {"customers": 1000, "peak": 200, "first": 1, "changed": 1}]
    figures = sync.figures(found)
    assert [round(figure.value, 2) for figure in figures] == [1.2, 1.1, 10, 1.5, 7, 150, 200, 1.33]
    assert [figure.holds for figure in figures] == [True, False, True, True, False, True, False, False]


@pytest.mark.parametrize(("database", "most", "growth"), [("sqlite", 2, 1.5), ("postgresql", 5, 8)])
def test_the_list_is_held_against_its_floor_and_its_own_growth(database, most, growth):
    small = {"database": database, "customers": 10_000, "floor": [10], "pages": {"search, many hits": {"ours": [10]}}}
    large = small | {"customers": 1_000_000, "pages": {"search, many hits": {"ours": [40]}}}
    figures = run.list_figures([small, large])
    assert [(figure.value, figure.limit) for figure in figures] == [(4, most), (4, growth)]


def test_a_figure_says_whether_it_holds(capsys):
    show("Both", [Figure("slow", 1.2, 1.1), Figure("fast", 26, 25, least=True)])
    words = capsys.readouterr().out
    assert "at most 1.1  DOES NOT HOLD" in words
    assert "at least 25  holds" in words
