"""What every process of a contender is told through its environment."""

import os
from pathlib import Path

DATABASE_URL = os.environ.get("BENCH_DATABASE_URL", "")
REDIS_SOCKET = os.environ.get("BENCH_REDIS_SOCKET", "")
REDIS_URL = f"unix://{REDIS_SOCKET}?db=0"
EFFECTS = Path(os.environ.get("BENCH_EFFECTS", ""))
EMBEDDINGS_URL = os.environ.get("BENCH_EMBEDDINGS_URL", "")

#: How Headrace is told of the same remote embedder.
REMOTE_SETTINGS = {"EMBEDDING_PROVIDER": "openai", "OPENAI_API_KEY": "bench"}
