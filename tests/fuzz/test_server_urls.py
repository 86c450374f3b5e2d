"""Passwords in URLs: each is read whole by the libraries that get it, or refused unseen."""

from urllib.parse import quote

import redis
from hypothesis import given
from hypothesis import strategies as st
from kombu.utils.url import parse_url
from sqlalchemy.engine import make_url

from pipeline.errors import UserError
from pipeline.io.server_urls import check, secrets_of, without
from pipeline.settings import check_broker_url

MARK = "qzx"  # in no message of ours
signs = st.sampled_from(
    [*"@/?#:[]%&=+;\\ \t\n\"'^|<>{}`~a0", "%40", "%zz", "://", "\u2100", "\xe4"]
)
passwords = st.lists(st.one_of(signs, st.just(MARK)), min_size=1, max_size=8).map("".join)


def refused(look, variable, url):
    """Whether a URL is refused; if so in words that show none of it."""
    try:
        look(variable, url)
    except UserError as error:
        said = str(error)
    else:
        return False
    assert MARK not in said
    return True


@given(passwords)
def test_a_password_is_read_whole_or_refused_unseen(password):
    url = f"postgresql://me:{password}@host:1/0"
    if not refused(check, "NASNET_DATABASE_URL", url):
        read = make_url(url)
        assert (read.username, read.host, read.port, read.database) == ("me", "host", 1, "0")
        assert password in secrets_of(url)
        assert read.password in secrets_of(url)
    url = url.replace("postgresql", "redis")
    if not refused(lambda _, url: check_broker_url(url), "", url):
        read = parse_url(url)
        found = redis.connection.parse_url(url)
        assert (read["userid"], read["hostname"], read["port"]) == ("me", "host", 1)
        assert (found["host"], found["port"], found["db"]) == ("host", 1, 0)
        assert read["password"] in secrets_of(url)


@given(st.text(min_size=3, max_size=20).filter(lambda text: text.isprintable()))
def test_every_password_may_be_written_escaped(password):
    url = f"postgresql://me:{quote(password, safe='')}@host:1/0"
    assert check("NASNET_DATABASE_URL", url) == "postgresql"
    assert make_url(url).password == password
    check_broker_url(url.replace("postgresql", "redis"))
    assert password not in without(f"it said {password}", frozenset(secrets_of(url)))
