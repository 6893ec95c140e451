"""The embeddings server of the harness: it remembers what it charged for."""

from collections import Counter
from dataclasses import dataclass, field

from tests.embeddings_server import EmbeddingsServer, Fault, Request, count_tokens

#: With these the provider computes nothing, or nothing that a client could use.
_FREE = frozenset(Fault) - {Fault.SHUFFLED, Fault.FLOATS_ONLY, Fault.NO_USAGE}


@dataclass
class CountingServer(EmbeddingsServer):
    """Charges for every text of a well answered request."""

    charged: list[Request] = field(default_factory=list)
    sick: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        setattr(self._http, "handle_error", lambda *_: None)  # noqa: B010 - here clients are killed, and it is no news

    def note(self, request: Request) -> tuple[Fault | None, str]:
        fault, retry_after = super().note(request)
        if fault in _FREE:
            self.sick += 1
        else:
            self.charged.append(request)
        return fault, retry_after

    @property
    def charged_tokens(self) -> int:
        return sum(request.tokens for request in self.charged)

    @property
    def distinct_tokens(self) -> int:
        return sum(count_tokens(text) for text in self._texts())

    @property
    def repeated_tokens(self) -> int:
        """Tokens of texts that were charged before."""
        return sum((times - 1) * count_tokens(text) for text, times in self._texts().items())

    @property
    def largest_batch_tokens(self) -> int:
        return max((request.tokens for request in self.charged), default=0)

    def _texts(self) -> Counter[str]:
        return Counter(text for request in self.charged for text in request.texts)
