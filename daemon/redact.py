"""Takes credentials out of what people and logs see. Rather a word too many is hidden than a secret shown.

A text may be a location of 8,000 characters that a stranger chose, so the rules take time in proportion to it: each run
of characters is tried from its beginning only, and not from every character in it.
"""

import re

HIDDEN = "***"
_TELLTALE = r"token|secret|signature|passw(?:or)?d|pwd|credential|api_?key|accesskey|authorization"

_RULES = (
    # A password may hold an @, so it goes on to the last one before the path.
    (
        re.compile(r"(?P<kept>(?<![a-z0-9+.-])[0-9+.-]*[a-z][a-z0-9+.-]*://)[^\s/?#]*@", re.IGNORECASE),
        rf"\g<kept>{HIDDEN}@",
    ),
    # Without a scheme, only what has a colon in it: //x@2x.jpg is a file.
    (re.compile(r"(?P<kept>//)[^\s/?#@:]*:[^\s/?#]*@"), rf"\g<kept>{HIDDEN}@"),
    # The same, as the parameter of another URL.
    (re.compile(r"(?P<kept>%3a%2f%2f)(?:(?!%2f)[^\s/?&#])*%40", re.IGNORECASE), rf"\g<kept>{HIDDEN}%40"),
    # password=… of libpq and of environments (PGPASSWORD), "password": … of JSON.
    (
        re.compile(
            r"""(?P<kept>(?:passw(?:or)?d|pwd)["']?\s*[=:]\s*)(?!\*{3}(?:[\s,}\]&;]|$))('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&;]+)""",
            re.IGNORECASE,
        ),
        rf"\g<kept>{HIDDEN}",
    ),
    (
        re.compile(r"(?P<kept>\bauthorization[\"']?\s*[=:]\s*[\"']?\w+\s+)[^\s\"']+", re.IGNORECASE),
        rf"\g<kept>{HIDDEN}",
    ),
    (re.compile(r"(?P<kept>\bbearer\s+)[^\s\"',]+", re.IGNORECASE), rf"\g<kept>{HIDDEN}"),
    (
        re.compile(rf"(?P<kept>[?&;](?:(?=[\w.-]*?(?:{_TELLTALE}))[\w.-]+|sig|key|auth)=)[^&;\s#]+", re.IGNORECASE),
        rf"\g<kept>{HIDDEN}",
    ),
)


def redact(text: str) -> str:
    """The text without user names and passwords of URLs, passwords of DSNs, bearer tokens, secrets in query strings.

    Nor has it lone surrogates, which locations may have (daemon/db/driver.py, text_of) and no terminal takes.
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text.encode("utf-8", "replace").decode()
