"""Embedders: any OpenAI-compatible URL, or the offline local model."""
