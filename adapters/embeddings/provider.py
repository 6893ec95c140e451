"""Choose the embedder that the settings name."""

from adapters.settings import Settings
from domain.errors import SettingsError
from domain.ports import Embedder


def make_embedder(settings: Settings) -> Embedder:
    """Build the embedder without loading its model or connecting; safe before a fork.

    Raises SettingsError when the settings do not fit together or an extra is missing.
    """
    return _openai(settings) if settings.embedding_provider == "openai" else _local(settings)


def _local(settings: Settings) -> Embedder:
    from adapters.embeddings.local import LocalEmbedder  # noqa: PLC0415 - only one of the two is needed

    return LocalEmbedder(settings.embedding_dimensions or 256)


def _openai(settings: Settings) -> Embedder:
    from adapters.embeddings.openai_compatible import OWN_DIMENSIONS, OpenAIEmbedder  # noqa: PLC0415

    model = settings.embedding_model or "text-embedding-3-small"
    dimensions = settings.embedding_dimensions or OWN_DIMENSIONS.get(model)
    if dimensions is None:
        raise SettingsError(f"EMBEDDING_DIMENSIONS is missing: how long are the vectors of {model}? example: 768")
    key = settings.openai_api_key
    return OpenAIEmbedder(
        model=model,
        dimensions=dimensions,
        api_key=key.get_secret_value() if key else None,
        base_url=settings.openai_base_url,
        inputs_per_request=settings.embedding_inputs_per_request,
        tokens_per_request=settings.embedding_tokens_per_request,
        requests_at_a_time=settings.embedding_requests_at_a_time,
        timeout_seconds=settings.embedding_timeout_seconds,
    )
