"""TLS files that cannot be used are named, with what is wrong."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from farthing.base.config.settings import Server
from farthing.core.errors import ConfigError
from farthing.server.tls import tls_context
from tests.server.conftest import Serve


def write_key(path: Path, *, passphrase: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    path.write_bytes(pem)
    return key


def write_certificate(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def settings(cert: Path | None, key: Path | None) -> Server:
    return Server(tls_cert=str(cert) if cert else None, tls_key=str(key) if key else None)


def test_without_settings_there_is_no_tls() -> None:
    assert tls_context(Server()) is None


def test_a_good_pair_is_loaded(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key.pem")
    write_certificate(tmp_path / "cert.pem", key)
    context = tls_context(settings(tmp_path / "cert.pem", tmp_path / "key.pem"))
    assert isinstance(context, ssl.SSLContext)


def test_a_missing_file_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.tls_cert names .*none\.pem"):
        tls_context(settings(tmp_path / "none.pem", None))


def test_a_key_without_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"without server\.tls_cert"):
        tls_context(settings(None, tmp_path / "key.pem"))


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    write_certificate(tmp_path / "cert.pem", write_key(tmp_path / "first.pem"))
    write_key(tmp_path / "second.pem")
    with pytest.raises(ConfigError, match="does not belong"):
        tls_context(settings(tmp_path / "cert.pem", tmp_path / "second.pem"))


def test_an_encrypted_key_is_refused_without_asking_the_terminal(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key.pem", passphrase=b"secret")
    write_certificate(tmp_path / "cert.pem", key)
    with pytest.raises(ConfigError, match="encrypted"):
        tls_context(settings(tmp_path / "cert.pem", tmp_path / "key.pem"))


def test_a_file_that_is_no_pem_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("hello")
    with pytest.raises(ConfigError, match="not valid PEM"):
        tls_context(settings(tmp_path / "cert.pem", None))


async def test_a_gateway_with_a_pair_answers_over_tls(serve: Serve, tmp_path: Path) -> None:
    write_certificate(tmp_path / "cert.pem", write_key(tmp_path / "key.pem"))
    pair = {"tls_cert": str(tmp_path / "cert.pem"), "tls_key": str(tmp_path / "key.pem")}
    async with serve(**pair) as running:
        assert running.server.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
        trusted.check_hostname = False
        async with running.client.get("/health", ssl=trusted) as reply:
            assert reply.status == 200
