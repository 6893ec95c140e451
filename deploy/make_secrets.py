"""Write the files that docker compose mounts as secrets: random passwords, never overwritten, never committed."""

import secrets
from pathlib import Path

FOLDER = Path(__file__).parent / "secrets"


def make_secrets(folder: Path = FOLDER) -> list[str]:
    """Create the missing files and return their names.

    The key of the `openai` provider and the mail server's password start empty: paste them in.

    The files are readable by all because the container's user is not yours; the folder is closed to everyone else.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    written: list[str] = []
    password = _keep_or_write(folder / "postgres_password", secrets.token_urlsafe(24), written)
    _keep_or_write(folder / "database_url", f"postgresql://headrace:{password}@postgres:5432/headrace", written)
    _keep_or_write(folder / "metrics_token", secrets.token_urlsafe(24), written)
    _keep_or_write(folder / "grafana_password", secrets.token_urlsafe(24), written)
    _keep_or_write(folder / "openai_api_key", "", written)
    _keep_or_write(folder / "smtp_password", "", written)
    return written


def _keep_or_write(path: Path, value: str, written: list[str]) -> str:
    if not path.exists():
        new = path.with_name(f"{path.name}.new")  # a full disk must not leave a secret that is empty, and kept
        new.write_text(value, encoding="utf-8")
        new.chmod(0o644)
        new.replace(path)
        written.append(path.name)
    return path.read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    made = make_secrets()
    print(f"deploy/secrets: {', '.join(made) if made else 'nothing to do'}")  # noqa: T201 (a command's answer)
