"""TLS over a checked address keeps the name: in SNI, in the certificate check and in the Host header."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connector_runner.infra.http import HTTP
from connector_runner.kernel.errors import Unavailable
from connector_runner.settings import Settings


@dataclass
class Server:
    """Answers one small body a connection."""

    port: int
    certificate: Path
    names: list[str | None] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)


def make_certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / "certificate.pem", folder / "key.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    pem, private = make_certificate(tmp_path, "ehr.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(listener.getsockname()[1], pem)
    context.sni_callback = lambda _, name, __: server.names.append(name)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    server.requests.append(secure.recv(65536))
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            except OSError:
                connection.close()

    threading.Thread(target=accept, daemon=True).start()
    yield server
    listener.close()


@pytest.fixture(autouse=True)
def names_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, port, **_: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
    )


def test_the_name_is_kept(server: Server) -> None:
    http = HTTP(Settings(http_allow=("ehr.example",)), ca_file=server.certificate)
    assert http.request("GET", f"https://ehr.example:{server.port}/x").body == b"ok"
    assert server.names == ["ehr.example"]
    assert f"Host: ehr.example:{server.port}".encode() in server.requests[0]


def test_another_name_or_an_unknown_issuer_is_not_sent_to(server: Server) -> None:
    settings = Settings(http_allow=("ehr.example", "other.example"))
    for http, host in ((HTTP(settings, ca_file=server.certificate), "other.example"), (HTTP(settings), "ehr.example")):
        with pytest.raises(Unavailable, match="TLS failed") as caught:
            http.request("POST", f"https://{host}:{server.port}/", data=b"{}", timeout_s=3)
        assert caught.value.code == "not_sent"
    assert not any(server.requests)


def test_a_client_certificate_is_shown_on_its_own_connections_only(tmp_path: Path) -> None:
    server_pem, server_key = make_certificate(tmp_path, "ehr.example")
    (tmp_path / "client").mkdir()
    pem, private = make_certificate(tmp_path / "client", "client.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_pem, server_key)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(pem)
    shown: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with context.wrap_socket(connection, server_side=True) as secure:
                while secure.recv(65536):
                    subject = (secure.getpeercert() or {}).get("subject", ())
                    shown.append(dict(pair[0] for pair in subject).get("commonName", "nobody"))
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        def accept() -> None:
            for _ in range(2):
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        http = HTTP(Settings(http_allow=("ehr.example",)), ca_file=server_pem)
        url = f"https://ehr.example:{listener.getsockname()[1]}/x"
        for certificate in ((str(pem), str(private)), None, (str(pem), str(private)), None):
            assert http.request("GET", url, certificate=certificate).body == b"ok"
        http.close()
    assert shown == ["client.example", "nobody", "client.example", "nobody"]
