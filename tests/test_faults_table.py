"""docs/faults.md names all forty faults of the threat model, and tests that are there."""

import ast
import re
from pathlib import Path

from django.conf import settings

ROOT = Path(settings.BASE_DIR)
TABLE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
LINES = re.findall(r"^\| (F\d+) \| ([^|]+) \| ([^|]*) \| ([^|]*) \|$", TABLE, re.MULTILINE)


def test_every_fault_stands_in_the_table_once_and_has_a_test():
    assert [number for number, *_ in LINES] == [f"F{number}" for number in range(1, 41)]
    assert [number for number, _, tests, _ in LINES if "::" not in tests] == []


def test_every_test_that_the_table_names_is_there():
    named = {tuple(name.split("::")) for _, _, tests, _ in LINES for name in re.findall(r"`([^`]+)`", tests)}
    there = {path: _tests_of(path) for path, _ in named}
    assert {(path, name) for path, name in named if name not in there[path]} == set()


def _tests_of(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
