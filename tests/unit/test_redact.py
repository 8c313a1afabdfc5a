"""What is taken out of texts, and that no text takes long."""

import re
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.redact import redact

TELLTALE = r"token|secret|signature|passw(?:or)?d|pwd|credential|api_?key|accesskey|authorization"
PLAIN_RULES = (
    (r"([a-z][a-z0-9+.-]*://)[^\s/?#]*@", r"\1***@"),
    (r"(//)[^\s/?#@:]*:[^\s/?#]*@", r"\1***@"),
    (r"(%3a%2f%2f)(?:(?!%2f)[^\s/?&#])*%40", r"\1***%40"),
    (
        r"""(\w*(?:passw(?:or)?d|pwd)["']?\s*[=:]\s*)(?!\*{3}(?:[\s,}\]&;]|$))(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&;]+)""",
        r"\1***",
    ),
    (r"(\bauthorization[\"']?\s*[=:]\s*[\"']?\w+\s+)[^\s\"']+", r"\1***"),
    (r"(\bbearer\s+)[^\s\"',]+", r"\1***"),
    (rf"([?&;](?:[\w.-]*(?:{TELLTALE})[\w.-]*|sig|key|auth)=)[^&;\s#]+", r"\1***"),
)
"""The rules as one would say them, which take time in proportion to the square of a text."""
PIECES = [
    *("http", "s3+x", "://", "//", "%3A%2F%2F", "%2f", "@", "%40", ":", "/", "1", ".", "-", "bob", "\u017f", "\u212a"),
    *("PGPASSWORD", "passwd", "pwd", "=", " ", "'", '"', "\\", "***", ",", "}", "\n"),
    *("authorization", "Basic", "bearer", "?", "&", ";", "#", "token", "api_", "key", "sig", "auth", "secret", "x"),
]
LONG = 50_000


def plainly(text: str) -> str:
    for pattern, replacement in PLAIN_RULES:
        text = re.sub(pattern, replacement, text, flags=re.IGNORECASE)
    return text


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_the_quick_rules_do_as_the_plain_ones(text: str) -> None:
    assert redact(text) == plainly(text)


@pytest.mark.parametrize(
    "text",
    [
        "a" * LONG,
        "a." * (LONG // 2),
        "1" * LONG,
        "a" * (LONG // 2) + "://" + "b" * (LONG // 2),
        "x://" * (LONG // 4),
        "//" * (LONG // 2),
        "//" + ":" * LONG,
        "%3a%2f%2f" * (LONG // 9),
        "pwd" * (LONG // 3),
        "pwd" + " " * LONG,
        "pwd=" + " " * LONG,
        "pwd='" + "\\'" * (LONG // 2),
        "pwd='\\' " * (LONG // 8),
        "authorization" * (LONG // 13),
        "authorization=" + "a" * LONG,
        "authorization=a" + " " * LONG,
        "bearer" + " " * LONG,
        "?" + "token" * (LONG // 5),
        "?" * LONG,
        "?" + "a" * LONG,
    ],
    ids=lambda text: text[:16],
)
def test_a_long_text_takes_time_in_proportion(text: str) -> None:
    """A square of it would be half a minute."""
    began = thread_time()
    redact(text)
    assert thread_time() - began < 5


def test_what_no_terminal_takes_is_replaced() -> None:
    assert redact("/caf\udce9.png of http://u:p@h/\ud800") == "/caf?.png of http://***@h/?"
