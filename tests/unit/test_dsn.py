"""A DSN that libpq cannot read is a wrong configuration, and none of it is shown: any part may be a password's."""

import pytest

from daemon.db.driver import check_dsn
from daemon.errors import ConfigurationError


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://vectord:50%topsecret@db/images",
        "postgresql://vectord:top@topsecret@db/images",
        "postgresql://vectord:ab/topsecret@db/images",
        "postgresql//vectord:topsecret@db/images",
        "host=db password=top topsecret",
        "host=db password='topsecret",
        "topsecret",
    ],
)
def test_what_cannot_be_read_is_not_quoted(dsn: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_dsn(dsn, "database.dsn")
    assert str(caught.value).startswith("database.dsn is neither a URL")
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "postgresql://vectord:50%25off@db/images",
        "postgresql://u@db1:5432,db2:5433/images?target_session_attrs=read-write",
        "postgresql://[::1]:5432/images",
        "postgresql://vectord:a?b#c@db/images",
        "postgresql:///images?host=/run/postgresql",
        "host=@abstract dbname=images",
        r"host=db password='it\'s @:/%' port=5432",
        "service=images",
    ],
)
def test_what_libpq_reads_stays_as_it_is(dsn: str) -> None:
    assert check_dsn(dsn, "database.dsn") == dsn
