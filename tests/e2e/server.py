"""A small server for the built site and a browser that logs what a page asks for."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("QTHEORY_SITE", ROOT / "_build" / "html"))
AXE = Path(__file__).resolve().parent / "node_modules" / "axe-core" / "axe.min.js"
# The site is published below a folder of its host, so it is tested below one.
PREFIX = "/qtheory"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class _Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing; the browser keeps the log."""

    def translate_path(self, path: str) -> str:
        inside = path.startswith(PREFIX + "/")
        return super().translate_path(path.removeprefix(PREFIX) if inside else "/outside-the-site")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that the browser dropped."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve `folder` on a free port of this machine and yield its address.

    Parameters
    ----------
    folder : pathlib.Path
        The folder with the pages.

    Yields
    ------
    str
        The address of the folder, with a slash at its end.
    """
    server = _Server(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{PREFIX}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def find_browser() -> str | None:
    """Return the path of Chromium or Chrome, or None; the variable CHROMIUM overrides."""
    if chosen := os.environ.get("CHROMIUM"):
        return shutil.which(chosen)
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def find_pages(folder: Path = SITE) -> list[str]:
    """Return the path of every page of a built site, relative to it."""
    pages = (path.relative_to(folder) for path in folder.rglob("*.html"))
    return sorted(page.as_posix() for page in pages if page.parts[0] not in ("_static", "_sources"))
