import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from db.schema import session
from db.schema.session import get_engine, is_away, make_engine, transaction

PID = text("SELECT pg_backend_pid()")


@pytest.fixture
def end_backend(postgres, postgres_url):
    """End a connection as a restart of the server does."""
    admin = make_engine(postgres.replace("postgresql://", "postgresql+psycopg://"))

    def end(pid):
        with admin.connect() as connection:
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})

    yield end
    admin.dispose()


def backend():
    with transaction(read_only=True) as connection:
        return connection.execute(PID).scalar_one()


def test_a_connection_that_was_lost_while_it_rested_is_replaced(end_backend, monkeypatch):
    monkeypatch.setattr(session, "TRUSTED", 0.0)
    before = backend()
    end_backend(before)
    assert backend() != before


def test_a_connection_that_was_lost_under_work_fails_as_away_once(end_backend, monkeypatch):
    monkeypatch.setattr(session, "TRUSTED", 3600.0)
    before = backend()
    end_backend(before)
    with pytest.raises(OperationalError) as caught:
        backend()
    assert is_away(caught.value)
    assert backend() != before


def test_a_transaction_that_fails_leaves_nothing(store):
    def fail():
        with transaction() as connection:
            connection.execute(text("CREATE TABLE here (a INTEGER)"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with transaction(read_only=True) as connection:
        assert not get_engine().dialect.has_table(connection, "here")
