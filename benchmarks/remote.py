"""The remote embedder: the tests' OpenAI-compatible server, in a process of its own on loopback."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


@contextmanager
def remote_embedder(seconds_per_request: float, seconds_per_token: float) -> Iterator[str]:
    """Run the server until the block ends; it ends with its input, so also when this process dies."""
    command = [sys.executable, "-m", "benchmarks.remote", str(seconds_per_request), str(seconds_per_token)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()


def main() -> None:
    from tests.embeddings_server import EmbeddingsServer

    per_request, per_token = map(float, sys.argv[1:])
    with EmbeddingsServer(seconds_per_request=per_request, seconds_per_token=per_token) as server:
        server.requests = _Forgetful()
        print(server.url, flush=True)
        sys.stdin.read()


class _Forgetful(list):  # type: ignore[type-arg]
    """Keeps no request: a run sends thousands, with their texts."""

    def append(self, _: object) -> None:
        pass


if __name__ == "__main__":
    main()
