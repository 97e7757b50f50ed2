"""A real browser, where one is installed: how wide a page is on a phone."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def width_on_a_phone(page: str, folder: Path) -> int:
    """Return the width in pixels that a page scrolls over, shown in a frame 390 pixels wide."""
    wrapper = folder / "phone.html"
    wrapper.write_text(
        f"<!DOCTYPE html><meta charset='utf-8'><iframe id='phone' width='390' height='844' "
        f'srcdoc="{html.escape(page)}"></iframe>'
        "<script>onload = () => { document.title = 'width ' + "
        "document.getElementById('phone').contentDocument.documentElement.scrollWidth }</script>",
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
    (width,) = re.findall(r"<title>width (\d+)</title>", done.stdout)
    return int(width)
