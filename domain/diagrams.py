"""Draw a table of transitions as a Mermaid state diagram; the documentation shows exactly what the code allows."""

from collections.abc import Mapping
from enum import StrEnum

Transitions = Mapping[str, tuple[frozenset[StrEnum], StrEnum]]


def state_diagram(transitions: Transitions, *, initial: StrEnum) -> str:
    """Return the diagram's text, one line per arrow, in the order of the table."""
    arrows = [
        f"    {source} --> {target}: {verb}"
        for verb, (sources, target) in transitions.items()
        for source in sorted(sources)
    ]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {initial}", *arrows])
