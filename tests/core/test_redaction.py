"""No password of a URL is printed or kept, wherever in the URL it stands; what is no secret is left alone."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.redaction import without_password

SECRET = "hu5h"
HELD = [
    "postgresql://user:{}@host/db",
    "postgresql://user:a@b/{}@host/db",
    "postgresql://:{}@host/db",
    "postgresql+psycopg://host/db?user=u&password={}",
    "postgresql://host/db?sslmode=require&sslpassword={}&x=1",
    "mysql://host/db?passwd={}",
    "mysql://host/db?PWD={}",
    "http://host/path?access_token={}",
    "http://host/path?sig={};x=1",
    "http://host/path#token={}",
    "https://{}@host/simple",
    "https://user:{}@host/simple",
    "postgresql://host/db?pass%77ord={}",
    "postgresql://host/db?%70%61%73%73%77%6F%72%64={}",
    "http://host/?next=https%3A%2F%2Fuser%3A{}%40other",
    "mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3D{}",
    "sqlite+pysqlcipher://:{}@/file.db",
    "--storage=postgresql://user:{}@host/db",
    "could not connect: postgresql://user:{}@host/db: timed out",
    "connection of host=h password={} user=u",
    "password='{} and more' user=u",
    "https://storage/x?api_key={}",
    "https://host/?jwt={}",
    "https://host/?session={}",
    "password=a&{} user=u",
    "password=a;{}",
    r"password=a\'{} user=u",
    r"password='a\'{}' user=u",
    "run --password {} --user u",
    "run --api-key '{}'",
    '{{"token": "{}"}}',
    "{{'db_password': '{}'}}",
    "Authorization: Bearer {}",
    "X-Api-Key: {}",
]


@pytest.mark.parametrize("form", HELD)
def test_a_secret_is_hidden(form: str) -> None:
    shown = without_password(form.format(SECRET))
    assert SECRET not in shown and "***" in shown
    assert without_password(shown) == shown


@pytest.mark.parametrize(
    "text",
    [
        "ssh://pi@board:22/home/pi",
        "ssh://board:22/home/pi",
        "postgresql://user@host:5432/db?sslmode=require",
        "sqlite:///history.db",
        "http://host/a?x=1&y=2",
        "--set prune.ratio=0.4",
        "replay:///tmp/recorded",
        "best.pt",
        "token: unexpected end",
        '{"tokens": 5, "sessions": "none"}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_password(text) == text


@given(st.text(st.characters(exclude_categories=("Cs", "Cc", "Z"), exclude_characters="*"), min_size=4))
def test_any_password_is_hidden_as_it_is_typed_and_encoded(password: str) -> None:
    secret = f"Z{quote(password, safe='')}Z"
    for form in HELD[:15]:
        assert secret not in without_password(form.format(secret))
    assert f"Z{password}Z" not in without_password(f"postgresql://user:Z{password}Z@host/db")
