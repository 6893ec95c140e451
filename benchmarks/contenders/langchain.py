"""LangChain: its PyMuPDF loader, recursive splitter and PGVector store, over the same local model."""

from functools import cache
from pathlib import Path

from langchain_community.document_loaders import PyMuPDFLoader
from langchain_core.embeddings import Embeddings
from langchain_postgres import PGVector
from langchain_text_splitters import RecursiveCharacterTextSplitter

from benchmarks.contenders import body
from benchmarks.contenders.environment import DATABASE_URL
from benchmarks.contenders.in_processes import Script

#: What LangChain's own tutorials have ("Build a RAG agent"); 1,000 characters are about Headrace's 256 tokens.
CHARACTERS, OVERLAP = 1000, 200


class LocalModel(Embeddings):
    """The local model behind LangChain's interface."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed some texts."""
        return body.embedder().embed(texts).vectors.tolist()

    def embed_query(self, text: str) -> list[float]:
        """Embed one text."""
        return self.embed_documents([text])[0]


@cache
def store() -> PGVector:
    """Open the store; its tables exist already, with an index."""
    url = DATABASE_URL.replace("postgresql://", "postgresql+psycopg://", 1)
    return PGVector(LocalModel(), connection=url, embedding_length=body.LOCAL_DIMENSIONS, create_extension=False)


def ingest(path: str) -> None:
    """Load, split, store."""
    pages = PyMuPDFLoader(path).load()
    texts = RecursiveCharacterTextSplitter(chunk_size=CHARACTERS, chunk_overlap=OVERLAP).split_documents(pages)
    for text in texts:
        text.page_content = text.page_content.replace("\0", "")
    store().add_documents(texts)
    body.database().execute(body.READY, (Path(path).name, len(pages), len(texts)))


def warm_up() -> None:
    """Load the model and connect, before the clock runs."""
    body.warm_up()
    store()


def create_tables() -> None:
    """Let the store make its tables, and give it the index that everybody keeps."""
    store()
    body.database().execute("CREATE INDEX ON langchain_pg_embedding USING hnsw (embedding vector_cosine_ops)")


def script(processes: int) -> Script:
    """Make the tables, then a pool of processes."""
    create_tables()
    store.cache_clear()
    body.database.cache_clear()
    return Script(ingest, warm_up, processes)
