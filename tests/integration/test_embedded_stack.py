"""PostgreSQL and Valkey in a data folder: through restarts, crashes and other owners."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
import pytest
import redis

from adapters.embedded.errors import EmbeddedError, FolderInUseError
from adapters.embedded.stack import Stack, embedded_stack

ROOT = Path(__file__).parents[2]

OWNER = """
import json, sys, time
from pathlib import Path
from adapters.embedded.stack import embedded_stack
with embedded_stack(Path(sys.argv[1])) as stack:
    leashes = [server._process.leash_pid for server in stack.servers]
    print(json.dumps({"url": stack.database_url, "redis": stack.redis_url, "leashes": leashes}), flush=True)
    time.sleep(99)
"""


@dataclass
class Owner:
    """A process of its own that holds a stack."""

    process: subprocess.Popen[str]
    database_url: str
    redis_url: str
    leashes: list[int]

    def descendants(self) -> set[int]:
        return _descendants(self.process.pid)


def start_owner(folder: Path, *, python: str = sys.executable, user: str | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python, "-c", OWNER, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"PATH": os.defpath, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        user=user,
        group=None if user is None else pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
    )


@contextmanager
def owner_of(folder: Path, **options: str) -> Iterator[Owner]:
    process = start_owner(folder, **options)
    try:
        told = json.loads(_first_line(process.stdout) or process.communicate()[1])
        yield Owner(process, told["url"], told["redis"], told["leashes"])
    finally:
        process.kill()
        process.communicate()


def _first_line(stream: IO[str] | None) -> str:
    assert stream
    return stream.readline()


def _running(program: str, family: set[int]) -> list[int]:
    """Return those of the family that run a program by this name."""
    found = []
    for pid in family:
        with suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
            found += [pid] * (Path(os.fsdecode(command)).name == program)
    return found


def _descendants(pid: int) -> set[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return set()
    return set(children).union(*map(_descendants, children))


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def sockets(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "run").iterdir())


def write_row(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (note text)")
        connection.execute("INSERT INTO kept VALUES ('here')")


def count_rows(stack: Stack) -> int:
    with psycopg.connect(str(stack.database_url)) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
        assert row
        return int(row[0])


def test_rows_survive_a_restart_and_nothing_else_does(server_folder: Path) -> None:
    others = _descendants(os.getpid())
    with embedded_stack(server_folder) as stack:
        write_row(str(stack.database_url))
        redis.Redis.from_url(str(stack.redis_url)).set("hint", 1)
        family = _descendants(os.getpid()) - others
    assert len(family) > 6
    assert all(map(is_gone, family))
    assert sockets(server_folder) == []
    with embedded_stack(server_folder) as stack:
        assert count_rows(stack) == 1
        assert redis.Redis.from_url(str(stack.redis_url)).dbsize() == 0
        assert set(stack.versions) == {"postgres", "valkey"}


def test_durability_is_never_weakened_by_default(server_folder: Path) -> None:
    with embedded_stack(server_folder, valkey=False) as stack, psycopg.connect(str(stack.database_url)) as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)
        assert connection.execute("SHOW max_connections").fetchone() == ("200",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)


def test_valkey_never_evicts_and_has_no_tcp_port(server_folder: Path) -> None:
    with embedded_stack(server_folder, postgres=False) as stack:
        client = redis.Redis.from_url(str(stack.redis_url))
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("port") == {"port": "0"}
        assert stack.database_url is None


def test_a_persistent_valkey_remembers(server_folder: Path) -> None:
    for expected in (0, 1):
        with embedded_stack(server_folder, postgres=False, valkey_persistent=True) as stack:
            client = redis.Redis.from_url(str(stack.redis_url))
            assert client.dbsize() == expected
            client.set("kept", 1)


def test_a_tcp_port_asks_for_the_password(server_folder: Path, free_port: int) -> None:
    with embedded_stack(server_folder, valkey=False, postgres_port=free_port) as stack:
        assert stack.postgres
        with psycopg.connect(stack.postgres.tcp_url()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{free_port}/headrace")


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_owner(server_folder: Path, signum: signal.Signals) -> None:
    with owner_of(server_folder) as owner:
        write_row(owner.database_url)
        family = owner.descendants()
        assert len(family) > 6
        owner.process.send_signal(signum)
        owner.process.wait(10)
        wait_until(lambda: all(map(is_gone, family)))
        assert sockets(server_folder) == []
    with embedded_stack(server_folder) as stack:
        assert count_rows(stack) == 1


def test_nothing_outlives_an_owner_shot_together_with_its_leashes(server_folder: Path) -> None:
    with owner_of(server_folder) as owner:
        family = owner.descendants()
        for pid in [owner.process.pid, *owner.leashes]:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, family)))


def test_the_next_owner_takes_over_right_after_a_kill(server_folder: Path) -> None:
    with owner_of(server_folder) as owner:
        write_row(owner.database_url)
        os.kill(owner.process.pid, signal.SIGKILL)
        owner.process.wait(10)
        with embedded_stack(server_folder) as stack:
            assert count_rows(stack) == 1


def test_the_next_owner_waits_until_a_dead_ones_servers_are_gone(server_folder: Path) -> None:
    with owner_of(server_folder) as owner:
        family = owner.descendants()
        valkey = int(redis.Redis.from_url(owner.redis_url).info("server")["process_id"])
        os.kill(valkey, signal.SIGSTOP)  # it cannot hear its leash
        os.kill(owner.process.pid, signal.SIGKILL)
        owner.process.wait(10)
        threading.Timer(1.0, os.kill, [valkey, signal.SIGCONT]).start()
        with embedded_stack(server_folder):
            assert all(map(is_gone, family))


def test_the_next_owner_takes_over_after_everything_but_postgres_was_shot(server_folder: Path) -> None:
    with owner_of(server_folder) as owner:
        write_row(owner.database_url)
        with psycopg.connect(owner.database_url):  # a session that is still there when the next owner comes
            for pid in [owner.process.pid, *owner.leashes]:
                os.kill(pid, signal.SIGKILL)
            owner.process.wait(10)
            with embedded_stack(server_folder) as stack:
                assert count_rows(stack) == 1


def test_the_next_owner_takes_over_from_a_server_started_by_hand(server_folder: Path) -> None:
    with embedded_stack(server_folder, valkey=False) as stack:
        write_row(str(stack.database_url))
        assert stack.postgres
        pg_ctl = stack.postgres._binaries.program("pg_ctl")
        account = stack.postgres._folder.account
    subprocess.run(
        [
            pg_ctl,
            "start",
            "-w",
            "-D",
            server_folder / "postgres",
            "-l",
            "/dev/null",
            "-o",
            "-c listen_addresses='' -k /tmp",
        ],
        check=True,
        capture_output=True,
        cwd="/",
        user=account.uid if account else None,
        group=account.gid if account else None,
    )
    with embedded_stack(server_folder, valkey=False) as stack:
        assert count_rows(stack) == 1


def test_a_killed_postmaster_can_be_started_again(server_folder: Path) -> None:
    with embedded_stack(server_folder, valkey=False) as stack:
        write_row(str(stack.database_url))
        assert stack.postgres
        assert stack.postgres.pid
        os.kill(stack.postgres.pid, signal.SIGKILL)
        wait_until(lambda: stack.postgres is not None and stack.postgres.poll() is not None)
        stack.postgres.start()
        assert count_rows(stack) == 1


@pytest.mark.parametrize("of_servers_account", [True, False], ids=["of the servers' account", "of ours"])
def test_a_pid_file_that_names_a_living_stranger_is_not_believed(server_folder: Path, of_servers_account: bool) -> None:
    with embedded_stack(server_folder, valkey=False) as stack:
        write_row(str(stack.database_url))
        pid_file = (server_folder / "postgres" / "postmaster.pid").read_text().splitlines()
    owner = (server_folder / "postgres").stat()
    with subprocess.Popen(["sleep", "93"], user=owner.st_uid if of_servers_account else None) as stranger:
        leftover = server_folder / "postgres" / "postmaster.pid"
        leftover.write_text("\n".join([str(stranger.pid), *pid_file[1:]]) + "\n")
        os.chown(leftover, owner.st_uid, owner.st_gid)
        with embedded_stack(server_folder, valkey=False) as stack:
            assert count_rows(stack) == 1
        assert stranger.poll() is None
        stranger.kill()


def test_a_second_owner_is_told_who_the_first_is(server_folder: Path) -> None:
    with (
        owner_of(server_folder) as owner,
        pytest.raises(FolderInUseError, match=f"{server_folder} is in use by process {owner.process.pid}"),
        embedded_stack(server_folder),
    ):
        pass


def test_the_same_process_cannot_own_a_folder_twice(server_folder: Path) -> None:
    with embedded_stack(server_folder, postgres=False), pytest.raises(FolderInUseError), embedded_stack(server_folder):
        pass


def test_an_initdb_that_was_cut_short_is_done_again(server_folder: Path) -> None:
    half = server_folder / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    with embedded_stack(server_folder, valkey=False) as stack:
        assert stack.versions["postgres"].startswith("18")
    assert not half.exists()


def test_the_next_owner_waits_until_a_dead_ones_initdb_is_gone(server_folder: Path) -> None:
    owner = start_owner(server_folder)
    wait_until(lambda: bool(_running("initdb", _descendants(owner.pid))))
    family = _descendants(owner.pid)
    (initdb,) = _running("initdb", family)
    os.kill(initdb, signal.SIGSTOP)  # it cannot hear its leash
    owner.kill()
    owner.communicate()
    threading.Timer(2.0, os.kill, [initdb, signal.SIGCONT]).start()
    with embedded_stack(server_folder, valkey=False):
        assert all(map(is_gone, family))


def test_data_of_an_unknown_postgres_is_left_alone(server_folder: Path) -> None:
    (server_folder / "postgres").mkdir()
    (server_folder / "postgres" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="PostgreSQL 9"), embedded_stack(server_folder, valkey=False):
        pass


def test_a_server_that_cannot_start_says_why(server_folder: Path) -> None:
    wrong = {"no_such_setting": "1"}
    with (
        pytest.raises(EmbeddedError, match="unrecognized configuration parameter"),
        embedded_stack(server_folder, valkey=False, postgres_settings=wrong),
    ):
        pass


def test_a_folder_too_deep_for_a_socket_works(server_folder: Path) -> None:
    deep = server_folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with embedded_stack(deep) as stack:
        write_row(str(stack.database_url))
        assert redis.Redis.from_url(str(stack.redis_url)).ping()
        assert stack.postgres
        elsewhere = stack.postgres._folder.sockets
    assert not elsewhere.is_relative_to(deep)
    shutil.rmtree(elsewhere)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_an_ordinary_user_needs_no_rights(server_folder: Path) -> None:
    python = _python_for("nobody")
    mine = server_folder / "mine"
    mine.mkdir()
    shutil.chown(mine, "nobody")
    with owner_of(mine, python=python, user="nobody") as owner:
        family = owner.descendants()
        uid = pwd.getpwnam("nobody").pw_uid
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in family} == {uid}
        os.kill(owner.process.pid, signal.SIGKILL)
        wait_until(lambda: all(map(is_gone, family)))
    with embedded_stack(mine) as stack:  # and root may go on with that folder
        write_row(str(stack.database_url))


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
def test_root_is_told_of_a_folder_that_the_servers_cannot_reach(server_folder: Path) -> None:
    closed = server_folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match="cannot enter"), embedded_stack(closed / "data"):
        pass
    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
def test_root_is_told_of_data_whose_owner_has_no_name(server_folder: Path) -> None:
    data = server_folder / "postgres"
    data.mkdir()
    os.chown(data, 54_321, 54_321)

    with pytest.raises(EmbeddedError, match=f"{data} belongs to user id 54321"), embedded_stack(server_folder):
        pass


@pytest.fixture
def strict_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
@pytest.mark.usefixtures("strict_umask")
def test_binaries_out_of_reach_are_copied(server_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_folder = server_folder / "made" / "by root"
    monkeypatch.setattr("adapters.embedded.binaries._runs", lambda command, account: False)
    with embedded_stack(server_folder) as stack:
        write_row(str(stack.database_url))
        assert stack.postgres
        assert Path(stack.postgres._binaries.home).is_relative_to(server_folder / "programs")


def _python_for(user: str) -> str:
    """A Python of our own version that this user can run; ours may lie below /root."""
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        command = [python, "-c", "import sys; v = sys.version_info; print(v.major, v.minor, sep='.')"]
        try:
            answer = subprocess.run(command, check=True, capture_output=True, text=True, user=user, cwd="/").stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        if answer.strip() == ours:
            return python
    pytest.skip(f"{user} can run no Python {ours}")
