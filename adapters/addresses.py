"""Addresses of servers, checked before anything connects to them. No answer quotes one: passwords are in them."""

from urllib.parse import urlsplit

DATABASE_SCHEMES = ("postgresql://", "postgres://", "sqlite:///")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def check_database_address(address: str) -> None:
    """Raise ValueError unless it is a SQLite file's, or libpq can read it, whose own words may quote the password."""
    _check_scheme(address, DATABASE_SCHEMES)
    if address.startswith("sqlite:"):
        return
    from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 - the command line shows its help without it

    try:
        conninfo.conninfo_to_dict(address)
    except ProgrammingError:
        raise ValueError(
            "cannot be read: write unusual characters of the password as %XX, and no foreign parameter"
        ) from None


def check_redis_address(address: str) -> None:
    """Raise ValueError unless redis-py can read it."""
    _check_scheme(address, REDIS_SCHEMES)
    try:
        _ = urlsplit(address).port
    except ValueError:
        raise ValueError("has no port between 0 and 65535, or a host that cannot be read") from None


def _check_scheme(address: str, schemes: tuple[str, ...]) -> None:
    if not address.startswith(schemes):
        raise ValueError(f"must start with one of {', '.join(schemes)}")
