"""What can go wrong with the servers that Headrace runs itself."""

from domain.errors import HeadraceError


class EmbeddedError(HeadraceError):
    """A server of ours cannot run here; the message is a sentence that tells a person what to do."""


class FolderInUseError(EmbeddedError):
    """Another live process owns this data folder; the message names the folder and the process."""
