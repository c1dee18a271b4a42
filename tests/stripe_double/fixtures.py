"""A control store of each kind; PostgreSQL only where `MILLRACE_TEST_POSTGRES` names a server."""

import os
import shutil
import uuid
from contextlib import contextmanager

import pytest
import structlog
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from billing.store import open_store
from stripe_double.stage import Stage

SERVER = "MILLRACE_TEST_POSTGRES"
KINDS = ["sqlite", "postgresql"] if os.environ.get(SERVER) else ["sqlite"]


@pytest.fixture(autouse=True)
def own_logs():
    """Let no test log to the closed stderr of the one before."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/control.db"
        return
    server = os.environ.get(SERVER)
    if not server:
        pytest.skip(f"{SERVER} names no PostgreSQL server (postgresql://user:password@host/postgres)")
    with a_database(server) as url:
        yield url


@contextmanager
def a_database(server):
    """Make a database on the server for one test."""
    name = f"millrace_{uuid.uuid4().hex[:12]}"
    engine = create_engine(
        make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(server).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """Migrate once; each stage gets a copy."""
    path = tmp_path_factory.mktemp("store") / "control.db"
    open_store(f"sqlite:///{path}").close()
    return path


@pytest.fixture
def sqlite_stage(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "control.db")
    stage = Stage(f"sqlite:///{tmp_path}/control.db", tmp_path)
    yield stage
    stage.store.close()


@pytest.fixture(params=KINDS)
def stage(request, tmp_path):
    """A stage with the control store of each kind."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_stage")
        return
    with a_database(os.environ[SERVER]) as url:
        stage = Stage(url, tmp_path)
        yield stage
        stage.store.close()
