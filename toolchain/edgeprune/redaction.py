"""Passwords and other secrets, taken out of what is printed and kept. Standard library only: it travels."""

from __future__ import annotations

import re
from urllib.parse import unquote

_USER_AND_PASSWORD = re.compile(r"(://[^/\s:@]*):[^\s]*@")  # a password may hold any sign, an @ too
_HTTP_USER = re.compile(r"(\bhttps?://)[^/\s@]+@", re.IGNORECASE)  # a token goes there by itself
_QUERY = re.compile(r"([?&;#])([^=?&;#\s\"']+)=([^&;#\s\"']*)")
_WORDS = r"pass(?:word|wd|phrase|_?code)?|pwd|token|secret|credential"
_SECRET_KEY = re.compile(rf"{_WORDS}|key|auth|signature|^sig$|^pw$", re.IGNORECASE)
_ASSIGNED = re.compile(rf"(\b[\w.-]*(?:{_WORDS})\w*)\s*=\s*('[^']*'|\"[^\"]*\"|[^\s&;#'\"]+)", re.IGNORECASE)


def without_password(text: str) -> str:
    """Return a text with whatever in it is a password or another secret replaced by ``***``.

    In URLs: the password before the host, or all that is there for http, and the values of keys that name a
    secret, in the query and behind ``#``, also where they are percent-encoded. Anywhere: ``password=...``.
    """
    text = _USER_AND_PASSWORD.sub(r"\1:***@", text)
    text = _HTTP_USER.sub(r"\1***@", text)
    text = _QUERY.sub(_hidden, text)
    return _ASSIGNED.sub(r"\1=***", text)


def _hidden(found: re.Match[str]) -> str:
    mark, key, value = found.groups()
    plain = unquote(unquote(value))
    secret = _SECRET_KEY.search(unquote(key)) or without_password(plain) != plain
    return f"{mark}{key}=***" if secret and value else found[0]
