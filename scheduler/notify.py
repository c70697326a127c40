"""Tell people by e-mail, or a program by a webhook; each says only where it could not."""

import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol

import httpx
from pydantic import SecretStr

_SECONDS = 10.0


class NotSent(Exception):  # noqa: N818  # a state, told by its name
    """A notice could not be handed over; it stays, and is tried again."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A notice with its address. `key` is the same at each attempt, so that a copy is known."""

    key: str
    recipient: str
    address: str
    subject: str
    body: str
    link: str


class Sender(Protocol):
    """A way to tell people."""

    def send(self, letter: Letter) -> bool:
        """Hand a letter over; False where this way does not reach the person. It may block.

        Raises:
            NotSent: it was not taken, and why.
        """
        ...


@dataclass(frozen=True, slots=True)
class Smtp:
    """A mail server. `security`: `none` on a trusted network, `starttls`, or `tls` at once."""

    host: str
    port: int
    sender: str
    security: str = "starttls"
    user: str = ""
    password: SecretStr | None = None

    def send(self, letter: Letter) -> bool:
        """Send one e-mail; False for a person without an address."""
        if not letter.address:
            return False
        message = EmailMessage()
        message["From"], message["To"] = self.sender, letter.address
        message["Subject"] = f"[Commonpool] {letter.subject}"
        message["Message-ID"] = f"<{letter.key}@commonpool>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content("\n\n".join(part for part in (letter.body, letter.link) if part) + "\n")
        try:
            with self._connected() as server:
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise NotSent(f"{self.host} port {self.port}: {error}") from error
        return True

    def _connected(self) -> smtplib.SMTP:
        trusted = ssl.create_default_context()
        if self.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self.host, self.port, timeout=_SECONDS, context=trusted
            )
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=_SECONDS)
        if self.security == "starttls":
            server.starttls(context=trusted)
        if self.user and self.password is not None:
            server.login(self.user, self.password.get_secret_value())
        return server


@dataclass(frozen=True, slots=True)
class Webhook:
    """A program that is told of everything: JSON, signed by a secret that both know."""

    url: str
    secret: SecretStr | None = None

    def send(self, letter: Letter) -> bool:
        """Post one letter.

        `X-Commonpool-Signature` is `sha256=` and the HMAC-SHA256 of the body, in hex.
        """
        said: Mapping[str, str] = {
            "key": letter.key,
            "recipient": letter.recipient,
            "subject": letter.subject,
            "body": letter.body,
            "link": letter.link,
        }
        content = json.dumps(said, sort_keys=True).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": letter.key}
        secret = "" if self.secret is None else self.secret.get_secret_value()
        if secret:
            digest = hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()
            headers["X-Commonpool-Signature"] = f"sha256={digest}"
        try:
            # A proxy of the environment is for people; who wants one names it in the address.
            with httpx.Client(timeout=_SECONDS, trust_env=False) as client:
                answer = client.post(self.url, content=content, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotSent(f"webhook: {error}") from error
        if not answer.is_success:
            raise NotSent(f"webhook: it answered {answer.status_code}")
        return True
