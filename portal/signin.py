"""Who looks at the portal: whoever the gate let in, or the one person who has it to themselves.

The gate's word is `st.user`; the secret with which the hub is asked is the session's cookie, as
the browser's socket brought it. The portal keeps neither tokens nor passwords.
"""

from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st

from portal.config import PortalSettings
from portal.gate.gate import COOKIE


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody the portal speaks for. `token_file` is None where no file holds the token."""

    name: str
    token: str = field(repr=False)
    token_file: Path | None = None
    signed_in: bool = False


def person(settings: PortalSettings) -> Person | None:
    """Return who looks; None where the gate's word and the browser's cookie are not both there."""
    if settings.portal_token is not None:
        return Person("you", settings.portal_token.get_secret_value())
    name, secret = st.user.get("sub"), st.context.cookies.get(COOKIE)
    if not (isinstance(name, str) and name and isinstance(secret, str) and secret):
        return None
    return Person(name, secret, signed_in=True)
