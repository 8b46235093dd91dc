"""Serve the built site on this machine only."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

HOST = "127.0.0.1"
FIRST_PORT = 8000
NUM_PORTS = 100


class SiteServer(http.server.ThreadingHTTPServer):
    """A server that refuses a port which is in use."""

    allow_reuse_address = False
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over readers who leave before a page is sent."""


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serve files without a line per request."""

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def end_headers(self) -> None:
        """Let the link checker ask as fast as it can; it waits between requests otherwise."""
        self.send_header("LinkChecker", "allowed")
        super().end_headers()


def start(site: Path, *, first_port: int = FIRST_PORT) -> SiteServer:
    """Bind a server for a folder to the first free port, and leave it to the caller to run."""
    handler = partial(QuietHandler, directory=str(site))
    for port in range(first_port, first_port + NUM_PORTS):
        try:
            return SiteServer((HOST, port), handler)
        except OSError:
            continue
    raise SystemExit(f"No free port from {first_port} to {first_port + NUM_PORTS - 1}.")


def address(server: SiteServer) -> str:
    """Return the address of a server's front page."""
    return f"http://{HOST}:{server.server_port}/"


def serve_forever(site: Path) -> None:
    """Serve a folder until interrupted, and say where."""
    server = start(site)
    print(f"The book is at {address(server)} (stop with Ctrl-C)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()


@contextmanager
def running(site: Path) -> Iterator[str]:
    """Serve a folder in the background and yield its address."""
    server = start(site, first_port=18000)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address(server)
    finally:
        server.shutdown()
        server.server_close()
