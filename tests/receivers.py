"""Receivers of notifications for tests: a web server and a mail server, small and real, on loopback."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class WebReceiver:
    """Remembers what was posted; refuses as long as it is told to."""

    port: int = 0
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    refuse: int = 0  # so many more times
    hang: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            if self.hang:
                await asyncio.sleep(3600)
            status = "200 OK"
            if self.refuse:
                self.refuse -= 1
                status = "503 Service Unavailable"
            else:
                self.got.append((headers, body))
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def a_web_receiver() -> AsyncIterator[WebReceiver]:
    receiver = WebReceiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()


@dataclass
class MailServer:
    """Speaks as much SMTP as a client needs: EHLO, STARTTLS, AUTH, MAIL, RCPT, DATA."""

    context: ssl.SSLContext
    port: int = 0
    mails: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    encrypted: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(b"220 mail.test ESMTP\r\n")
            while line := (await reader.readline()).decode().strip():
                if not await self._answer(line, reader, writer):
                    break
        writer.close()

    async def _answer(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        word = line.split(maxsplit=1)[0].upper()
        if word == "EHLO":
            writer.write(b"250-mail.test\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN\r\n")
        elif word == "STARTTLS":
            writer.write(b"220 go\r\n")
            await writer.start_tls(self.context)
            self.encrypted = True
        elif word == "AUTH":
            self.logins.append(line)
            writer.write(b"235 yes\r\n")
        elif word == "RCPT":
            self.recipients.append(line.partition(":")[2].strip("<>"))
            writer.write(b"250 ok\r\n")
        elif word == "DATA":
            writer.write(b"354 go\r\n")
            self.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            writer.write(b"250 taken\r\n")
        else:
            writer.write(b"221 bye\r\n" if word == "QUIT" else b"250 ok\r\n")
        await writer.drain()
        return word != "QUIT"


@contextlib.asynccontextmanager
async def a_mail_server(folder: Path) -> AsyncIterator[tuple[MailServer, ssl.SSLContext]]:
    """Yield the server, and a context that trusts its certificate."""
    certificate, key = a_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    mails = MailServer(context)
    server = await asyncio.start_server(mails.serve, "127.0.0.1", 0)
    mails.port = server.sockets[0].getsockname()[1]
    try:
        yield mails, ssl.create_default_context(cafile=str(certificate))
    finally:
        server.close()


def a_certificate(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.fromtimestamp(time.time(), UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False)
    certificate = builder.sign(key, hashes.SHA256())
    paths = folder / "mail.crt", folder / "mail.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    paths[1].write_bytes(key.private_bytes(*private))
    return paths
