"""Passwords and other secrets, taken out of what is printed and kept. Standard library only: it travels."""

from __future__ import annotations

import re
from urllib.parse import unquote

_USER_AND_PASSWORD = re.compile(r"(://[^/\s:@]*):[^\s]*@")  # a password may hold any sign, an @ too
_HTTP_USER = re.compile(r"(\bhttps?://)[^/\s@]+@", re.IGNORECASE)  # a token goes there by itself
_QUERY = re.compile(r"([?&;#])([^=?&;#\s\"']+)=([^&;#\s\"']*)")
_WORDS = r"pass(?:word|wd|phrase|_?code)?|pwd|token|secret|credential"
_SECRET_KEY = re.compile(rf"{_WORDS}|key|auth|signature|jwt|bearer|session|^sig$|^pw$|^pin$", re.IGNORECASE)
# A quoted value may hold its own quote behind a backslash. One that is not quoted ends at a space: outside of
# a query no other sign ends it.
_VALUE = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ASSIGNED = re.compile(rf"(\b[\w.-]*(?:{_WORDS})\w*)\s*=\s*({_VALUE}|(?:[^\s\\]|\\.)+)", re.IGNORECASE)
_MEMBER = re.compile(rf"(([\"'])[\w.-]*(?:{_WORDS}|api_?key)\w*\2\s*:\s*)({_VALUE})", re.IGNORECASE)
_OPTION = re.compile(rf"(--[\w-]*(?:{_WORDS}|api-key)[\w-]*\s+)({_VALUE}|[^\s'\"-]\S*)", re.IGNORECASE)
_HEADER = re.compile(
    r"\b((?:Authorization|X-Api-Key)\s*:\s*(?:(?:Bearer|Basic|Token)\s+)?)[^\s'\"]+", re.IGNORECASE
)


def without_password(text: str) -> str:
    """Return a text with whatever in it is a password or another secret replaced by ``***``.

    In URLs: the password before the host, or all that is there for http, and the values of keys that name a
    secret, in the query and behind ``#``, also where they are percent-encoded. Anywhere: ``password=...``,
    ``--password ...``, ``"password": "..."`` of JSON, and the header ``Authorization: ...``.
    """
    text = _USER_AND_PASSWORD.sub(r"\1:***@", text)
    text = _HTTP_USER.sub(r"\1***@", text)
    text = _QUERY.sub(_hidden, text)
    text = _ASSIGNED.sub(_assigned, text)
    text = _MEMBER.sub(lambda found: f"{found[1]}{found[3][0]}***{found[3][-1]}", text)
    for form in (_OPTION, _HEADER):
        text = form.sub(r"\1***", text)
    return text


def _assigned(found: re.Match[str]) -> str:
    """Hide a value; behind one of a query, which is hidden already, the rest of the query stays."""
    rest = found[2].removeprefix("***")
    return f"{found[1]}=***{rest}" if rest != found[2] and rest[:1] in ("", *"&;#'\")") else f"{found[1]}=***"


def _hidden(found: re.Match[str]) -> str:
    mark, key, value = found.groups()
    plain = unquote(unquote(value))
    secret = _SECRET_KEY.search(unquote(key)) or without_password(plain) != plain
    return f"{mark}{key}=***" if secret and value else found[0]
