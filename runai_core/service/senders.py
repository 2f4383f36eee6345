"""How a message leaves: signed webhooks over HTTP, and mail over SMTP."""

import asyncio
import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from email.utils import formataddr
from typing import Any, Protocol

import httpx

from runai_core.model.notices import ChannelType, Notice, NotificationChannel

TIMEOUT = 10.0
"""Seconds that a receiver has to answer."""

SMTPS = 465
"""Port on which a mail server speaks TLS from the first byte."""


class Undeliverable(Exception):
    """The receiver did not take it; the text says why."""


class Sender(Protocol):
    """Sends messages to one type of channel."""

    async def send(self, channel: NotificationChannel, secret: str, notice: Notice, now: float) -> None:
        """Hand the message over; raise Undeliverable."""
        ...


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """Return what a receiver computes to know that a message is ours and fresh: HMAC-SHA256 of time and body."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class WebhookSender:
    """Posts JSON. A receiver that is told twice knows it by `X-Runai-Delivery`."""

    def __init__(self, client: httpx.AsyncClient | None = None) -> None:
        # No redirects, no proxies of the environment: the message goes where an administrator said, or nowhere.
        self._client = client or httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False)

    async def send(self, channel: NotificationChannel, secret: str, notice: Notice, now: float) -> None:
        """Post the message; any answer but 2xx is a refusal."""
        body = json.dumps({"id": notice.meta.uid, "type": notice.type, **notice.body}, sort_keys=True).encode()
        timestamp = str(int(now))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "runai-core",
            "X-Runai-Delivery": notice.meta.uid,
            "X-Runai-Event": notice.type,
            "X-Runai-Timestamp": timestamp,
        }
        if secret:
            headers["X-Runai-Signature"] = f"sha256={signature(secret, timestamp, body)}"
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._client.post(str(channel.config.get("url")), content=body, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError) as error:
            raise Undeliverable(str(error) or type(error).__name__) from None
        if not answer.is_success:
            raise Undeliverable(f"the receiver answered {answer.status_code}")


class EmailSender:
    """Hands mail to a server, in a thread."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context

    async def send(self, channel: NotificationChannel, secret: str, notice: Notice, now: float) -> None:  # noqa: ARG002
        """Send the message to the channel's recipients and the notice's own."""
        config = channel.config
        listed = config.get("recipients")
        recipients = [str(item) for item in listed] if isinstance(listed, Sequence) else []
        if config.get("directNotifications", not recipients):
            recipients = list(dict.fromkeys([*recipients, *notice.recipients]))
        if not recipients:
            raise Undeliverable("nobody to send it to: the channel has no recipients and the user's name is no address")
        try:
            message = mail(config, notice, recipients)
            await asyncio.to_thread(self._hand_over, config, secret, message)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise Undeliverable(str(error) or type(error).__name__) from None

    def _hand_over(self, config: Mapping[str, Any], secret: str, message: EmailMessage) -> None:
        host, port = str(config.get("smtpHost")), int(config.get("smtpPort") or 587)
        context = self._context or ssl.create_default_context()
        encrypted = bool(config.get("smtpTlsEnabled"))
        if encrypted and port == SMTPS:
            server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, timeout=TIMEOUT, context=context)
        else:
            server = smtplib.SMTP(host, port, timeout=TIMEOUT)
        with server:
            if encrypted and port != SMTPS:
                server.starttls(context=context)
            if config.get("authType", "auth_none") != "auth_none":
                server.login(str(config.get("username", "")), secret)
            server.send_message(message)


def mail(config: Mapping[str, Any], notice: Notice, recipients: Sequence[str]) -> EmailMessage:
    """Return the mail. Names that hold line breaks cannot add headers: the library refuses them."""
    body = notice.body
    message = EmailMessage()
    message["From"] = formataddr((str(config.get("fromDisplayName") or "runai"), str(config.get("from"))))
    message["To"] = ", ".join(recipients)
    message["Subject"] = " ".join(f"[runai] {notice.type}: {body.get('project')}/{body.get('workload')}".split())
    message["X-Runai-Delivery"] = notice.meta.uid
    message["Auto-Submitted"] = "auto-generated"
    lines = [f"{name}: {body[name]}" for name in ("workload", "project", "phase", "time", "message") if name in body]
    message.set_content("\n".join(lines) + "\n")
    return message


SENDERS: Mapping[ChannelType, type[WebhookSender] | type[EmailSender]] = {
    ChannelType.WEBHOOK: WebhookSender,
    ChannelType.EMAIL: EmailSender,
}
"""Type of channel -> who sends to it."""
