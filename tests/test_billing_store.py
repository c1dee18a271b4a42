"""The control store: made and upgraded on opening, one writer at a time, errors in one sentence."""

import sqlite3
import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text

from billing import cap_tables
from billing import store as store_module
from billing.store import open_store
from billing.tables import facts
from pipeline.errors import StoreError, UsageError

pytest_plugins = ["stripe_double.fixtures"]


@pytest.fixture
def store(store_url):
    store = open_store(store_url)
    yield store
    store.close()


def test_the_migrations_make_exactly_the_declared_tables(store):
    with store.read() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), cap_tables.metadata)
    assert differences == []


def test_what_was_written_is_there_when_the_store_is_opened_again(store, store_url):
    with store.write() as connection:
        connection.execute(insert(facts).values(name="account", value="acct_1"))
    again = open_store(store_url)
    with again.read() as connection:
        assert connection.execute(select(facts.c.value)).scalars().all() == ["acct_1"]
    again.close()


def test_a_failed_write_leaves_nothing(store):
    def fail_half_way():
        with store.write() as connection:
            connection.execute(insert(facts).values(name="half", value="1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with store.read() as connection:
        assert connection.execute(select(facts.c.name)).all() == []


def test_writers_follow_one_another_so_that_read_then_write_loses_nothing(store):
    with store.write() as connection:
        connection.execute(insert(facts).values(name="count", value="0"))

    def add():
        for _ in range(20):
            with store.write() as connection:
                value = int(connection.execute(select(facts.c.value)).scalar_one())
                connection.execute(facts.update().values(value=str(value + 1)))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as connection:
        assert connection.execute(select(facts.c.value)).scalar_one() == "80"


def test_sqlite_is_set_up_to_survive_a_power_cut_and_to_hold_references(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/control.db")
    with store.read() as connection:
        pragmas = {
            p: connection.execute(text(f"PRAGMA {p}")).scalar_one() for p in ("journal_mode", "synchronous")
        }
        assert pragmas == {"journal_mode": "wal", "synchronous": 2}
        assert connection.execute(text("PRAGMA foreign_keys")).scalar_one() == 1
    store.close()


def test_a_checkpoint_moves_what_was_written_ahead_and_begins_its_file_anew_when_it_is_long(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(store_module, "ANEW_PAGES", 100)
    store = open_store(f"sqlite:///{tmp_path}/control.db")
    ahead = tmp_path / "control.db-wal"
    for number in range(200):
        with store.write(survives_power_cut=False) as connection:
            connection.execute(insert(facts).values(name=str(number), value="x" * 4_000))
        if number % 10 == 0:
            store.checkpoint()
    assert ahead.stat().st_size < 200 * 2 * 4_096
    store.close()


def test_a_store_made_by_a_newer_program_is_refused(tmp_path):
    url = f"sqlite:///{tmp_path}/control.db"
    open_store(url).close()
    with sqlite3.connect(tmp_path / "control.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UsageError, match="made by a newer millrace"):
        open_store(url)


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://a/b", "sqlite://", "sqlite:///:memory:"])
def test_another_url_is_wrong_use(url):
    with pytest.raises(UsageError, match="control store's URL is not understood"):
        open_store(url)


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "control.db").write_text("not a database at all, but long enough to be read as one" * 20)
    with pytest.raises(StoreError, match=r"control\.db cannot be used: file is not a database"):
        open_store(f"sqlite:///{tmp_path}/control.db")


def test_a_password_never_stands_in_an_error():
    pytest.importorskip("psycopg", reason="needs psycopg, the extra 'postgres'")
    with pytest.raises(StoreError) as caught:
        open_store("postgresql://someone:s3cret@127.0.0.1:9/db?connect_timeout=2")
    assert "s3cret" not in str(caught.value)
