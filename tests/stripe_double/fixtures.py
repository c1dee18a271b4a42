"""A control store of each kind: SQLite, and PostgreSQL where one is there (`tests/postgres.py`)."""

import shutil

import pytest
import structlog

from billing.store import open_store
from stripe_double.stage import Stage

KINDS = ["sqlite", "postgresql"]


@pytest.fixture(autouse=True)
def own_logs():
    """Let no test log to the closed stderr of the one before."""
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture(params=KINDS)
def store_url(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/control.db"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


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
    with request.getfixturevalue("postgres").database() as url:
        stage = Stage(url, tmp_path)
        yield stage
        stage.store.close()
