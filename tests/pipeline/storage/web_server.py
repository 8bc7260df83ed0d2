"""A web server on loopback with a certificate of its own making, as well-behaved as a test wants it."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class WebServer:
    """Serves `files` by path, without their query.

    Attributes:
        certificate: PEM file of the server's certificate, which is its own authority.
        redirects: path to the URI that it answers with.
        requests: path with its query, and the `Range` asked for, of each request.
        cuts: how many answers of a path break off half-way.
        stalled: paths of whose files only the first bytes come.
        with_ranges, with_etag: whether it does what most do.
        headers: more of them, of every answer with a file.
    """

    files: dict[str, bytes]
    certificate: Path
    port: int = 0
    redirects: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    cuts: dict[str, int] = field(default_factory=dict)
    stalled: set[str] = field(default_factory=set)
    with_ranges: bool = True
    with_etag: bool = True
    headers: dict[str, str] = field(default_factory=dict)
    ended: threading.Event = field(default_factory=threading.Event)

    def uri(self, path: str) -> str:
        """`https://localhost:port/path`."""
        return f"https://localhost:{self.port}/{path}"


@contextmanager
def serve(folder: Path, files: dict[str, bytes]) -> Iterator[WebServer]:
    """A running server; its certificate lies in the folder."""
    server = WebServer(files, folder / "authority.pem")
    key_file = _make_certificate(server.certificate)

    class Handler(_Handler):
        web = server

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, key_file)
    listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    server.port = listener.server_address[1]
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        listener.shutdown()
        listener.server_close()


class _Handler(BaseHTTPRequestHandler):
    web: WebServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.web.requests.append((self.path, asked))
        path = self.path.partition("?")[0].lstrip("/")
        if path in self.web.redirects:
            self.send_response(302)
            self.send_header("Location", self.web.redirects[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = self.web.files.get(path)
        if data is None:
            self.send_error(404)
            return
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "") if self.web.with_ranges else None
        start = int(span[1]) if span else 0
        end = min(int(span[2]) + 1, len(data)) if span and span[2] else len(data)
        if span and start >= len(data):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if span else 200)
        for name, value in self.web.headers.items():
            self.send_header(name, value)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(data)}")
        if self.web.with_etag:
            self.send_header("ETag", f'"{hash(data)}"')
        self.send_header("Content-Length", str(end - start))
        self.end_headers()
        body = data[start:end]
        if path in self.web.stalled and len(body) > 1:
            self.wfile.write(body[:10])
            self.wfile.flush()
            self.web.ended.wait(60)
        elif self.web.cuts.get(path) and len(body) > 1:
            self.web.cuts[path] -= 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _make_certificate(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file = path.with_suffix(".key")
    plain = serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return key_file
