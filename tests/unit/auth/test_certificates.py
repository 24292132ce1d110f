"""Client certificates: what is unusable is said, what is usable is kept where only we read it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from connector_runner.auth.certificates import certificate_files
from connector_runner.connectors.outgoing import require_callable_documents
from connector_runner.infra.http import HTTP
from connector_runner.kernel.errors import Misconfigured
from connector_runner.settings import Settings


def pair(days: tuple[int, int] = (-1, 1)) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client.example")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def test_files_that_only_this_account_reads_made_once() -> None:
    certificate, private = pair()
    files = certificate_files(certificate, private)
    assert files == certificate_files(certificate, private)
    for file, content in zip(files, (certificate, private), strict=True):
        assert Path(file).read_text() == content
        assert Path(file).stat().st_mode & 0o077 == 0
    assert Path(files[0]).parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("days", [(-9, -2), (2, 9)])
def test_one_out_of_its_time_is_named_with_the_day(days: tuple[int, int]) -> None:
    with pytest.raises(Misconfigured, match=r"20\d\d-\d\d-\d\d") as caught:
        certificate_files(*pair(days))
    assert caught.value.code == "client_certificate"


def test_no_pair_and_no_pem_are_refused_without_a_word_of_them() -> None:
    certificate, private = pair()
    for given in ((certificate, pair()[1]), (certificate, "CANARY"), ("CANARY", private), (private, certificate)):
        with pytest.raises(Misconfigured) as caught:
            certificate_files(*given)
        assert caught.value.code == "client_certificate"
        assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://169.254.169.254/token", "http://127.0.0.1:8080/t", "http://[::ffff:10.0.0.1]/t"]
)
def test_where_tokens_are_had_may_not_be_private_when_it_is_saved(url: str) -> None:
    exchange = {"kind": "bearer_token_exchange", "exchange_url": url, "exchange_secret": "env:S"}
    oauth = {"kind": "client_credentials", "client_id": "x", "client_secret": "env:S", "token_url": url}
    for auth, key in ((exchange, "exchange_url"), (oauth, "token_url")):
        document = {"name": "a", "source_type": "fhir_store", "settings": {"sink": {"write_auth": auth}}}
        with pytest.raises(Misconfigured) as caught:
            require_callable_documents(document, HTTP(Settings()).check, file="a.yaml")
        assert caught.value.where == f"a.yaml: settings.sink.write_auth.{key}"
