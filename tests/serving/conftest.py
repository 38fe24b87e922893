"""A small run, and the service on it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from listening import TOKEN, served

from hyvae import HyVAE, Ratings
from hyvae.serving.settings import Settings

SMALL = {"samples": 4, "sample_width": 4, "chains": 2, "sweeps": 12, "epochs": 6}


@pytest.fixture(scope="session")
def run(parts: tuple[Ratings, Ratings], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with integer ids; the last three items have no ratings, nor have the last two users."""
    folder = tmp_path_factory.mktemp("served") / "run"
    HyVAE(**SMALL).fit(*parts, seed=0, progress=False).save(folder)
    return folder


@pytest.fixture(scope="session")
def string_run(string_ratings: Ratings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with string ids, that knows nothing of how sure it is."""
    folder = tmp_path_factory.mktemp("strings") / "run"
    HyVAE(**SMALL).fit(string_ratings, seed=0, progress=False).save(folder)
    return folder


@pytest.fixture
def settings(run: Path, tmp_path: Path) -> Settings:
    """Without a limit on requests, with a store of its own."""
    return Settings(run=run, token=TOKEN, rate=0, database=f"sqlite:///{tmp_path}/events.db")


@pytest.fixture
def client(settings: Settings) -> Iterator[httpx.Client]:
    """As a program on this machine asks."""
    with served(settings) as client:
        yield client


@pytest.fixture(scope="module")
def reading(run: Path) -> Iterator[httpx.Client]:
    """The same for tests that write nothing."""
    with served(Settings(run=run, token=TOKEN, rate=0)) as client:
        yield client


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory):
    """URL of a PostgreSQL server that was started for these tests."""
    import shutil
    import subprocess

    found = [shutil.which("pg_ctl"), *sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))]
    pg_ctl = next((Path(each) for each in found if each), None)
    if pg_ctl is None:
        if os.environ.get("CI"):
            pytest.fail("PostgreSQL is not installed, and CI must test against it")
        pytest.skip("PostgreSQL is not installed")
    binaries = pg_ctl.resolve().parent
    folder = tmp_path_factory.mktemp("postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    prefix: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(folder, "postgres")
        for parent in list(folder.parents)[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        prefix = ["runuser", "-u", "postgres", "--"]
    data = folder / "data"
    subprocess.run(
        [*prefix, str(binaries / "initdb"), "-D", str(data), "-U", "tester", "--auth=trust", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = [*prefix, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    subprocess.run(
        [*control, "-o", options, "-l", str(folder / "log"), "start"], check=True, capture_output=True, cwd=folder
    )
    yield f"postgresql://tester@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True, cwd=folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/events.db"
    return empty_database(request.getfixturevalue("postgres"))


@pytest.fixture
def postgres_database(postgres: str) -> str:
    """An empty database of PostgreSQL."""
    return empty_database(postgres)


def empty_database(url: str) -> str:
    """URL of a new database of this server of PostgreSQL."""
    import sqlalchemy as sa

    name = f"test_{np.random.default_rng().integers(2**48)}"
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return url.removesuffix("postgres") + name
