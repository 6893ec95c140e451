"""The nine jumps of docs/architecture.md lead to code that exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (\d) \| (.*?) \| (.*?) \|$", re.MULTILINE)
PLACE = re.compile(r"`([\w/]+\.py)`(?: `(\w+)`)?")

JUMPS = ROW.findall((ROOT / "docs/architecture.md").read_text(encoding="utf-8"))


def test_there_are_nine_jumps_in_order() -> None:
    assert [number for number, _, _ in JUMPS] == list("123456789")


@pytest.mark.parametrize(("number", "places", "question"), JUMPS)
def test_a_jump_leads_to_a_definition_in_a_file(number: str, places: str, question: str) -> None:
    found = PLACE.findall(places)

    assert found, f"jump {number} names no file"
    for file, name in found:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        assigned = {
            target.id
            for node in tree.body
            if isinstance(node, (ast.Assign, ast.AnnAssign))
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        assert not name or name in defined | assigned, f"jump {number}: {file} has no {name}"
