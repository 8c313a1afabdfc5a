"""Takes credentials out of what people and logs see."""

import re

_URL_CREDENTIALS = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@?#]*@")
_DSN_PASSWORD = re.compile(r"(?P<key>\bpassword\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", re.IGNORECASE)
_QUERY_SECRET = re.compile(
    r"(?P<key>[?&](?:[\w.-]*(?:token|secret|signature|password|credential|apikey|api_key|accesskey)[\w.-]*|sig|key)=)[^&\s#]+",
    re.IGNORECASE,
)
HIDDEN = "***"


def redact(text: str) -> str:
    """The text with user names and passwords of URLs, passwords of DSNs and secrets in query strings hidden."""
    text = _URL_CREDENTIALS.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _DSN_PASSWORD.sub(rf"\g<key>{HIDDEN}", text)
    return _QUERY_SECRET.sub(rf"\g<key>{HIDDEN}", text)
