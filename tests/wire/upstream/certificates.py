"""A certificate authority of the test's own, and a scripted server with one of its certificates."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from farthing.testing.server import Asked, Peer, Script, _read
from farthing.wire.upstream.tls import ClientContext


@dataclass
class Secure:
    """A running server. asked_names: what the clients' SNI named."""

    port: int = 0
    connections: int = 0
    resumed: int = 0
    asked: list[Asked] = field(default_factory=list)
    asked_names: list[str | None] = field(default_factory=list)


class Authority:
    """Signs certificates that only its own `trust` accepts."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self._certificate = (
            _builder(name, name, self._key, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = self._certificate.public_bytes(serialization.Encoding.PEM)

    def trust(self) -> ClientContext:
        return ClientContext(cadata=self.certificate.decode())

    def context(self, host: str) -> ssl.SSLContext:
        """A server's, with a certificate for this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        certificate = (
            _builder(name, self._certificate.subject, key, self._key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["h2", "http/1.1"])
        with tempfile.NamedTemporaryFile() as file:
            pem = serialization.Encoding.PEM
            secret = key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            Path(file.name).write_bytes(secret + certificate.public_bytes(pem))
            context.load_cert_chain(file.name)
        return context

    @asynccontextmanager
    async def serving(self, host: str, script: Script) -> AsyncIterator[Secure]:
        """A TLS server on loopback that runs `script` once per request."""
        state = Secure()
        context = self.context(host)
        context.sni_callback = lambda _, name, __: state.asked_names.append(name)

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            state.connections += 1
            state.resumed += bool(writer.get_extra_info("ssl_object").session_reused)
            try:
                while (asked := await _read(reader)) is not None:
                    state.asked.append(asked)
                    await script(Peer(reader, writer, asked))
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
        state.port = server.sockets[0].getsockname()[1]
        try:
            yield state
        finally:
            server.close()


#: Strict verification (Python's default from 3.13 on) wants to read what the authority's key is for.
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
