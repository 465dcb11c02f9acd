# pyright: reportMissingImports=false
"""Keys and certificates of a deployment, made by `cryptography`: an authority, the server's TLS, nodes' identities."""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from chainlab.errors import MissingDependencyError, UsageError

_VALID = datetime.timedelta(days=365)


class Tls(NamedTuple):
    """Files of the server's TLS.

    Attributes:
        authority: Certificate of the authority that signed the server's: nodes need it, and nothing secret is in it.
        certificate: The server's certificate.
        key: The server's private key.
    """

    authority: Path
    certificate: Path
    key: Path


def _cryptography() -> Any:
    try:
        from cryptography import x509
    except ImportError as error:
        raise MissingDependencyError("cryptography", "federated", "making keys") from error
    return x509


def _write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, from the first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def server_tls(folder: Path, hosts: Sequence[str]) -> Tls:
    """The server's TLS files, made where they are not there yet: an authority of its own and a certificate for hosts.

    Args:
        folder: Where they lie.
        hosts: Names and addresses under which nodes reach the server.

    Returns:
        The files.

    Raises:
        UsageError: There is no host, or some of the files are missing.
        MissingDependencyError: cryptography is not installed.
    """
    files = Tls(folder / "authority.crt", folder / "server.crt", folder / "server.key")
    there = [path.exists() for path in files]
    if all(there):
        return files
    if any(there) or not hosts:
        missing = [path.name for path in files if not path.exists()]
        raise UsageError(f"{folder}: wanted all TLS files or none, and a host; missing {', '.join(missing)}")
    x509 = _cryptography()
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    now = datetime.datetime.now(datetime.UTC)
    authority_key, server_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "chainlab federation authority")])

    def certificate(subject: Any, key: Any, extensions: Sequence[tuple[Any, bool]]) -> bytes:
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(minutes=5)).not_valid_after(now + _VALID)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(authority_key, hashes.SHA384()).public_bytes(serialization.Encoding.PEM)

    folder.mkdir(parents=True, exist_ok=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
    usage |= dict.fromkeys(("encipher_only", "decipher_only", "digital_signature", "crl_sign"), False)
    own = [
        (x509.BasicConstraints(True, 0), True),
        (identifier, False),
        (x509.KeyUsage(key_cert_sign=True, **usage), True),
    ]
    files.authority.write_bytes(certificate(issuer, authority_key, own))
    names = x509.SubjectAlternativeName([_general_name(x509, host) for host in hosts])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hosts[0])])
    purpose = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH])
    signer = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    leaf = [(x509.BasicConstraints(False, None), True), (names, False), (purpose, False), (signer, False)]
    files.certificate.write_bytes(certificate(subject, server_key, leaf))
    _write_secret(files.key, _private(server_key, serialization.PrivateFormat.PKCS8))
    return files  # the authority's key is forgotten: it signs nothing more


def _general_name(x509: Any, host: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: Any, form: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def node_key(path: Path) -> Path:
    """A node's identity: its private key, made where it is not there yet, and beside it `<path>.pub` for the server.

    Args:
        path: The private key, which never leaves the node.

    Returns:
        The public key's file.

    Raises:
        MissingDependencyError: cryptography is not installed.
    """
    public = path.with_name(path.name + ".pub")
    _cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    if not path.exists():
        _write_secret(path, _private(ec.generate_private_key(ec.SECP384R1()), serialization.PrivateFormat.OpenSSH))
    if not public.exists():
        key = serialization.load_ssh_private_key(path.read_bytes(), None).public_key()
        public.write_bytes(key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH) + b"\n")
    return public
