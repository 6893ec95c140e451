"""Nothing grows unnoticed: modules, functions and actors have a size at which somebody has to think."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("actors", "middleware", "domain", "adapters")

MODULE_LINES = 400
FUNCTION_LINES = 60
ACTOR_STATEMENTS = 5

# What may be larger, and why. An entry that is no longer needed fails the test.
LARGE_MODULES: dict[str, str] = {}
LARGE_FUNCTIONS: dict[str, str] = {}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> Iterator[tuple[str, str]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def functions(source: str) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, Function))


def is_actor(function: Function) -> bool:
    decorators = (node.func if isinstance(node, ast.Call) else node for node in function.decorator_list)
    return any(ast.unparse(decorator).rsplit(".", 1)[-1].endswith("actor") for decorator in decorators)


def statements(function: Function) -> int:
    has_docstring = ast.get_docstring(function) is not None
    inside = sum(isinstance(node, ast.stmt) for node in ast.walk(function)) - 1
    return inside - has_docstring


def test_no_module_is_over_400_lines():
    large = {name: lines for name, source in modules() if (lines := len(source.splitlines())) > MODULE_LINES}

    assert large.keys() == LARGE_MODULES.keys(), large


def test_no_function_is_over_60_lines():
    large = {
        f"{name}::{function.name}": lines
        for name, source in modules()
        for function in functions(source)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES
    }

    assert large.keys() == LARGE_FUNCTIONS.keys(), large


def test_an_actor_has_at_most_five_statements():
    sizes = {
        f"{name}::{function.name}": statements(function)
        for name, source in modules()
        if name.startswith("actors/")
        for function in functions(source)
        if is_actor(function)
    }

    assert {name: size for name, size in sizes.items() if size > ACTOR_STATEMENTS} == {}


ACTOR = """
def work(id):
    '''Docstring.'''
    if id:
        a()
        b()
    for x in id:
        c()
"""


@pytest.mark.parametrize("decorator", ["@actor", "@dramatiq.actor(max_retries=3)", "@periodic_actor(cron='* * * * *')"])
def test_actors_are_recognised_and_counted_whole(decorator):
    (work,) = functions(decorator + ACTOR)

    assert is_actor(work)
    assert statements(work) == 5
