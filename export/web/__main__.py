"""Shows the page of an export: `python -m keras_dcgan.export.web --run runs/imgs`, and stops with Ctrl-C. With
`--host 0.0.0.0` also on the phone, if it is in the same network.

For everybody else put the whole export folder on any static host: the page needs no server of its own.
"""

import errno
import functools
import gzip
import http.server
import io
import ipaddress
import socket
import sys
from http import HTTPStatus
from pathlib import Path

from keras_dcgan.cli import Expected, Parser, number, place, user_errors
from keras_dcgan.errors import Unavailable
from keras_dcgan.process import run

LOCAL = "127.0.0.1"
EXPECTED = "an IPv4 address, or 0.0.0.0 for all of them"
PACKED = (".css", ".html", ".js", ".json", ".svg", ".wasm", ".webmanifest")  # weights hardly shrink


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers out of the folder only, and for no name that somebody else may have given this machine."""

    extensions_map = http.server.SimpleHTTPRequestHandler.extensions_map | {
        ".wasm": "application/wasm",
        ".js": "text/javascript",
        ".webmanifest": "application/manifest+json",
    }

    def send_head(self):
        # Another site's page could else ask through a name of its own that leads here (DNS rebinding).
        if not is_ours(self.headers.get("Host", "").lower().partition(":")[0]):
            return self.send_error(
                HTTPStatus.MISDIRECTED_REQUEST, "Open it by its IP address, or as localhost"
            )
        path, mark, query = self.path.partition("?")
        if path in ("/", "/web"):
            self.send_response(HTTPStatus.FOUND)
            self.send_header("Location", f"/web/{mark}{query}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        file = self.file()
        if file is None:
            return self.send_error(HTTPStatus.NOT_FOUND, "File not found")
        is_packed = file.suffix in PACKED and "gzip" in self.headers.get("Accept-Encoding", "")
        body = io.BytesIO(packed(file, file.stat().st_mtime_ns)) if is_packed else file.open("rb")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", self.guess_type(file))
        self.send_header("Content-Length", str(body.seek(0, io.SEEK_END)))
        body.seek(0)
        if is_packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        return body

    def file(self) -> Path | None:
        """What the address names, if it is a file, and in the folder also when symbolic links are followed."""
        try:
            path = Path(self.translate_path(self.path))
            file = (path / "index.html" if path.is_dir() else path).resolve(strict=True)
        except (OSError, ValueError):  # ValueError: a zero byte
            return None
        return file if file.is_relative_to(Path(self.directory).resolve()) and file.is_file() else None

    def end_headers(self):
        # Without these two a browser gives WebAssembly no threads.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        # Nor kept: another run's page may come to the same address, with an older model.
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_):
        pass


@functools.lru_cache(maxsize=32)
def packed(file: Path, modified: int) -> bytes:
    """9.4 MB of WebAssembly become 3.3 in 0.1 s; at level 6 it would be 2.9 in 0.4."""
    return gzip.compress(file.read_bytes(), 1)


def is_ours(host: str) -> bool:
    """Whether it is an address, or localhost: a name that nobody else can have led here."""
    try:
        return host == "localhost" or bool(ipaddress.IPv4Address(host))
    except ValueError:
        return False


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):  # a page that was closed while it loaded
            super().handle_error(request, client_address)


def server(folder: Path, port: int, host: str = LOCAL) -> Server:
    """Serves an export folder at that address of this machine; port 0 takes any that is free. Raises Unavailable
    where there is no page, the address is not this machine's, or the port is another's."""
    if not (folder / "web" / "index.html").is_file():
        raise Unavailable("run", "an export with a page (python -m keras_dcgan.export)", folder)
    try:
        return Server((host, port), functools.partial(Handler, directory=str(folder)))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise Unavailable("host", f"{EXPECTED}, of this machine", host) from error
        raise Unavailable("port", "a free one", f"{port} ({error.strerror})") from error


def outward() -> str:
    """The address by which others in the network know this machine; 127.0.0.1 where it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # nobody's (RFC 5737); a datagram socket sends nothing by that
        except OSError:
            return LOCAL
        return probe.getsockname()[0]


def address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError as error:
        raise Expected(f"expected {EXPECTED}, received {text!r}") from error


def main(arguments: list[str] | None = None):
    parser = Parser("keras_dcgan.export.web", __doc__)
    parser.add_argument(
        "--run", type=place, required=True, metavar="DIR", help="the run directory, or an export folder"
    )
    port = number(0, 65535, kind=int)
    parser.add_argument("--port", type=port, default=8000, metavar="N", help="0: any that is free [8000]")
    parser.add_argument(
        "--host",
        type=address,
        default=LOCAL,
        metavar="ADDRESS",
        help=f"0.0.0.0: whoever is in the same network can open the page, such as your phone [{LOCAL}]",
    )
    flags = parser.parse_args(arguments)
    folder = flags.run if (flags.run / "web").is_dir() else flags.run / "export"
    with user_errors("web"):
        serving = server(folder, flags.port, flags.host)
    if not ipaddress.IPv4Address(flags.host).is_loopback:
        print("whoever is in this network can open the page, and read the export folder")
    host = outward() if flags.host == "0.0.0.0" else flags.host
    print(f"http://{host}:{serving.server_port}/web/  (Ctrl-C stops)", flush=True)
    serving.serve_forever()


if __name__ == "__main__":
    raise SystemExit(run(main))
