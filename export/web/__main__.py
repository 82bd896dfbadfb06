"""Shows the page of an export on this machine: `python -m export.web --run runs/imgs`, and stops with Ctrl-C.

For everybody else put the whole export folder on any static host: the page needs no server of its own.
"""

import functools
import http.server
import sys
from pathlib import Path

from keras_dcgan.cli import Parser, number, place, user_errors
from keras_dcgan.errors import Unavailable
from keras_dcgan.process import run


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".wasm": "application/wasm",
        ".js": "text/javascript",
        ".webmanifest": "application/manifest+json",
    }

    def end_headers(self):
        # Without these two a browser gives WebAssembly no threads.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        # Nor kept: another run's page may come to the same address, with an older model.
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # a page that was closed while it loaded
            super().handle_error(request, client_address)


def server(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Serves an export folder on 127.0.0.1; port 0 takes any that is free. Raises OSError where there is no
    page, or the port is another's."""
    if not (folder / "web" / "index.html").is_file():
        raise Unavailable("run", "an export with a page (python -m export)", folder)
    try:
        return Server(("127.0.0.1", port), functools.partial(Handler, directory=str(folder)))
    except OSError as error:
        raise Unavailable("port", "a free one", f"{port} ({error.strerror})") from error


def main(arguments: list[str] | None = None):
    parser = Parser("export.web", __doc__)
    parser.add_argument(
        "--run", type=place, required=True, metavar="DIR", help="the run directory, or an export folder"
    )
    port = number(0, 65535, kind=int)
    parser.add_argument("--port", type=port, default=8000, metavar="N", help="0: any that is free [8000]")
    flags = parser.parse_args(arguments)
    with user_errors("web"):
        serving = server(flags.run if (flags.run / "web").is_dir() else flags.run / "export", flags.port)
    print(f"http://127.0.0.1:{serving.server_port}/web/  (Ctrl-C stops)", flush=True)
    serving.serve_forever()


if __name__ == "__main__":
    raise SystemExit(run(main))
