"""Templates of strangers: Jinja2 in its sandbox, without what could make rendering long or large."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, nodes
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from domain.errors import InvalidMailError

#: A body after rendering.
LONGEST_OUTPUT = 1_000_000

#: Loops of one template. Each runs over variables, which have at most 16 KB (`domain.mail.LARGEST_VARIABLES`), and one
#: inside another over the other's items, so that together they never run more often than there are values.
MOST_LOOPS = 20

#: What a template may be made of. Missing: calls, assignments, macros, imports and arithmetic, which could ask for
#: any amount of time and memory.
ALLOWED = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.If, nodes.CondExpr, nodes.For,
    nodes.Getattr, nodes.Getitem, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or,
    nodes.Not, nodes.Tuple, nodes.List,
)  # fmt: skip

#: Filters whose output is about as long as their input.
FILTERS = frozenset(
    {"abs", "capitalize", "count", "d", "default", "e", "escape", "first", "float", "int", "last", "length", "lower",
     "round", "striptags", "title", "trim", "truncate", "upper", "urlencode"}
)  # fmt: skip


def _environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=autoescape, undefined=StrictUndefined, keep_trailing_newline=True, cache_size=0
    )
    environment.globals.clear()
    environment.filters = {name: filter_ for name, filter_ in environment.filters.items() if name in FILTERS}
    return environment


_TEXT, _HTML = _environment(autoescape=False), _environment(autoescape=True)


def render(source: str, variables: Mapping[str, Any], *, what: str, is_html: bool = False) -> str:
    """Render one template. Raises InvalidMailError: a syntax error, a construct that is refused, a missing variable."""
    try:
        pieces, length = [], 0
        for piece in _compiled(source, is_html).generate(variables):
            pieces.append(piece)
            length += len(piece)
            if length > LONGEST_OUTPUT:
                raise InvalidMailError(f"{what} becomes longer than {LONGEST_OUTPUT:,} characters")
        return "".join(pieces)
    except InvalidMailError:
        raise
    except TemplateError as error:
        raise InvalidMailError(f"{what} cannot be rendered: {error.message or type(error).__name__}") from error
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise InvalidMailError(f"{what} cannot be rendered: {type(error).__name__}") from error


@lru_cache(maxsize=64)
def _compiled(source: str, is_html: bool) -> Template:
    environment = _HTML if is_html else _TEXT
    tree = environment.parse(source)
    if sum(1 for _ in tree.find_all(nodes.For)) > MOST_LOOPS:
        raise InvalidMailError(f"a template has more than {MOST_LOOPS} loops")
    _check(tree, items_of=None)
    return environment.from_string(source)


def _check(node: nodes.Node, *, items_of: str | None) -> None:
    """Refuse what mail may not use. `items_of`: the variable of the loop around the node."""
    if not isinstance(node, ALLOWED) or (isinstance(node, nodes.Name) and node.name == "self"):
        raise InvalidMailError(f"line {node.lineno} of a template has {type(node).__name__}, which mail may not use")
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        raise InvalidMailError(f"line {node.lineno} of a template has the filter {node.name!r}, which mail may not use")
    if isinstance(node, nodes.For):
        items_of = _loop_variable(node, items_of)
    for child in node.iter_child_nodes():
        _check(child, items_of=items_of)


def _loop_variable(loop: nodes.For, items_of: str | None) -> str:
    """Return what a loop calls its items. Raises InvalidMailError for one that could run too often."""
    source: nodes.Node = loop.iter
    while isinstance(source, nodes.Getattr | nodes.Getitem):
        source = source.node
    is_bounded = isinstance(source, nodes.Name) and (items_of is None or source.name == items_of)
    if not is_bounded or not isinstance(loop.target, nodes.Name) or loop.recursive:
        raise InvalidMailError(
            f"line {loop.lineno} of a template has a loop over something else than a variable, or than the items of "
            "the loop around it"
        )
    return loop.target.name
