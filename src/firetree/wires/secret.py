"""What only a job's own ranks have: a key and its certificate, with which they speak TLS 1.3.

Every rank has the same file, shows the certificate and asks for it. Who lacks the key is not let in,
and reads nothing.
"""

from __future__ import annotations

import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from firetree.errors import UserError
from firetree.extras import extra

VARIABLE = "FIRETREE_SECRET"
"""The environment variable with the secret's file."""

_VALID = timedelta(days=3650)


def new_secret(path: Path) -> None:
    """Write a new secret, which only this user may read.

    Raises:
        UserError: the file exists or cannot be written, or `cryptography` is not installed.
    """
    with extra("private", "make a secret"):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "firetree")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
    except FileExistsError as error:
        raise UserError(f"{path} exists already; expected the name of a new file") from error
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


class Secret:
    """A job's secret, which makes private what is sent over sockets.

    Args:
        path: a file of `new_secret`, the same on all ranks.

    Raises:
        UserError: it cannot be read, is no secret, or other users may read it.
    """

    def __init__(self, path: Path):
        try:
            if path.stat().st_mode & 0o077:
                raise UserError(f"other users may read {path}; make it private: chmod 600 {path}")
            self.as_server, self.as_client = (
                _context(path, kind) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)
            )
        except ssl.SSLError as error:
            raise UserError(
                f"{path} is no secret; expected a file that firetree secret new FILE has written"
            ) from error
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error

    def calling(self, stream: socket.socket) -> ssl.SSLSocket:
        """Speak TLS on a connection that this rank has made; waits for the other (OSError)."""
        return self.as_client.wrap_socket(stream)

    def called(self, stream: socket.socket) -> ssl.SSLSocket:
        """Speak TLS on a connection that another has made, once `do_handshake` is through."""
        return self.as_server.wrap_socket(stream, server_side=True, do_handshake_on_connect=False)


def given_secret() -> Secret | None:
    """The secret that the environment names, if any (UserError as `Secret`)."""
    path = os.environ.get(VARIABLE)
    return Secret(Path(path)) if path else None


def _context(path: Path, kind: int) -> ssl.SSLContext:
    context = ssl.SSLContext(kind)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(path)
    context.load_verify_locations(path)
    if kind == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0
    return context
