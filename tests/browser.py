"""A real browser, where one is installed: how wide a page is, and what of it scrolls sideways."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def width_on_a_phone(page: str, folder: Path) -> int:
    """Return the width in pixels that a page scrolls over, shown in a frame 390 pixels wide."""
    return int(_ask(page, folder, 390, "shown.documentElement.scrollWidth"))


def scroll_sideways(page: str, folder: Path, width: int) -> list[str]:
    """Return the names of the tables that scroll sideways by themselves in a frame so many pixels wide."""
    tables = "[...shown.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth)"
    names = _ask(page, folder, width, f"{tables}.map(one => one.getAttribute('aria-label')).join(';')")
    return names.split(";") if names else []


def _ask(page: str, folder: Path, width: int, expression: str) -> str:
    """Return what a page says, shown in a frame so many pixels wide, to an expression in JavaScript."""
    wrapper = folder / "frame.html"
    wrapper.write_text(
        f"<!DOCTYPE html><meta charset='utf-8'><iframe id='frame' width='{width}' height='844' "
        f'srcdoc="{html.escape(page)}"></iframe>'
        "<script>onload = () => { const shown = document.getElementById('frame').contentDocument; "
        f"document.title = 'said ' + ({expression}) }}</script>",
        encoding="utf-8",
    )
    flags = (
        "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --dump-dom"
    )
    quiet = "--disable-background-networking --disable-component-update --hide-scrollbars"
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [str(CHROMIUM), *flags.split(), *quiet.split(), profile, wrapper.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (said,) = re.findall(r"<title>said ?([^<]*)</title>", done.stdout)
    return html.unescape(said)
