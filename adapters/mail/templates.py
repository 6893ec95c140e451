"""Templates of strangers: Jinja2 in its sandbox, without what could make rendering long or large."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, wraps
from threading import local
from typing import Any, Literal

from jinja2 import StrictUndefined, Template, Undefined, nodes
from jinja2.exceptions import TemplateError, TemplateRuntimeError
from jinja2.filters import do_round
from jinja2.sandbox import ImmutableSandboxedEnvironment

from domain.errors import InvalidMailError

#: A body after rendering, and what a filter may make of a text on the way there.
LONGEST_OUTPUT = 1_000_000

#: What a thread may compute for one template. Each turn of a loop, each filter and each piece of the output looks at
#: the clock; what a body and its variables can put between two looks takes about as long again.
CPU_SECONDS = 2.0

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

#: Ten to any power would take any time.
MOST_DIGITS = 15

#: Tests that compute a remainder, which of a text is what it becomes formatted, with any number of blanks.
REMAINDERS = ("divisibleby", "even", "odd")

#: The filter that the turns of loops are counted by; no template can name it.
TURNS = "turns of a loop"

_clock = local()


def _look_at_the_clock() -> None:
    if time.thread_time() > _clock.ends_at:
        raise TemplateRuntimeError("it takes too long; use fewer loops, conditions and filters")


def _turns(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        _look_at_the_clock()
        yield item


def _bounded(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """Let nobody wait for filters upon filters, each of which makes its text somewhat longer."""

    @wraps(filter_)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        _look_at_the_clock()
        result = filter_(*args, **kwargs)
        if isinstance(result, str) and len(result) > LONGEST_OUTPUT:
            raise TemplateRuntimeError(f"a filter makes a text longer than {LONGEST_OUTPUT:,} characters")
        return result

    return bounded


def _round(value: float, precision: int = 0, method: Literal["common", "ceil", "floor"] = "common") -> float:
    if isinstance(value, Undefined):
        return value  # it says its name when it is written
    if not isinstance(value, int | float) or not -MOST_DIGITS <= precision <= MOST_DIGITS:
        raise TemplateRuntimeError(f"round takes a number, and a precision from -{MOST_DIGITS} to {MOST_DIGITS}")
    return do_round(value, precision, method)


def _of_integers(test: Any) -> Callable[..., bool]:
    def checked(*values: Any) -> bool:
        if not all(isinstance(value, int | Undefined) for value in values):
            raise TemplateRuntimeError("divisibleby, even and odd are said of whole numbers")
        return bool(test(*values))

    return checked


def _environment(*, autoescape: bool) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        optimized=False,  # its optimizer takes the cube of how deep an expression is
        autoescape=autoescape,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        cache_size=0,
    )
    environment.globals.clear()
    filters = environment.filters | {"round": _round}
    environment.filters = {name: _bounded(filters[name]) for name in FILTERS} | {TURNS: _turns}
    environment.tests |= {name: _of_integers(environment.tests[name]) for name in REMAINDERS}
    return environment


_TEXT, _HTML = _environment(autoescape=False), _environment(autoescape=True)


def render(source: str, variables: Mapping[str, Any], *, what: str, is_html: bool = False) -> str:
    """Render one template. Raises InvalidMailError: a syntax error, a construct that is refused, a missing variable."""
    _clock.ends_at = time.thread_time() + CPU_SECONDS
    try:
        pieces, length = [], 0
        for piece in _compiled(source, is_html).generate(variables):
            pieces.append(piece)
            length += len(piece)
            if length > LONGEST_OUTPUT:
                raise InvalidMailError(f"{what} becomes longer than {LONGEST_OUTPUT:,} characters")
            _look_at_the_clock()
        text = "".join(pieces)
        text.encode()  # a constant may hold half a character
        return text
    except InvalidMailError:
        raise
    except TemplateError as error:
        raise InvalidMailError(f"{what} cannot be rendered: {error.message or type(error).__name__}") from error
    except Exception as error:  # a stranger's program failed, whatever it says
        raise InvalidMailError(f"{what} cannot be rendered: {type(error).__name__}") from error


@lru_cache(maxsize=64)
def _compiled(source: str, is_html: bool) -> Template:
    environment = _HTML if is_html else _TEXT
    tree = environment.parse(source)
    loops = list(tree.find_all(nodes.For))
    if len(loops) > MOST_LOOPS:
        raise InvalidMailError(f"a template has more than {MOST_LOOPS} loops")
    _check(tree, items_of=None)
    for loop in loops:
        loop.iter = nodes.Filter(loop.iter, TURNS, [], [], None, None, environment=environment, lineno=loop.lineno)
    return Template.from_code(environment, environment.compile(tree), environment.make_globals(None))


def _check(node: nodes.Node, *, items_of: str | None) -> None:
    """Refuse what mail may not use. `items_of`: the variable of the loop around the node."""
    if not isinstance(node, ALLOWED) or (isinstance(node, nodes.Name) and node.name == "self"):
        raise InvalidMailError(f"line {node.lineno} of a template has {type(node).__name__}, which mail may not use")
    if isinstance(node, nodes.Filter) and node.name not in FILTERS:
        raise InvalidMailError(f"line {node.lineno} of a template has the filter {node.name!r}, which mail may not use")
    if isinstance(node, nodes.List | nodes.Tuple) and not all(isinstance(item, nodes.Const) for item in node.items):
        raise InvalidMailError(f"line {node.lineno} of a template has a list of something else than constants")
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
