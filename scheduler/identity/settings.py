"""The identity file: issuers, the consent banner, how long sessions live, the door for cards.

It is one YAML file, named by `COMMONPOOL_IDENTITY`. Secrets are not in it: it says in which
file or environment variable each of them is. docs/identity.md describes it with an example.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from scheduler.core.claims import ClaimRule, ClaimRules
from scheduler.core.model import AccountName
from scheduler.errors import Fault, Refused
from scheduler.policy_rows import duration

DEVELOPMENT = "development"
CARD = "cac"
_RESERVED = frozenset({DEVELOPMENT, CARD})
MAX_IDLE = timedelta(hours=12)
MAX_ABSOLUTE = timedelta(days=7)


def is_loopback(url: str) -> bool:
    """Return whether a URL's host is this machine, which needs no TLS."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _web_address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(url)):
        raise ValueError("must be https://, or http:// on this machine")
    if parts.query or parts.fragment or not parts.hostname:
        raise ValueError("must be an address without query and fragment")
    return url


def _time(text: object) -> object:
    if isinstance(text, str):
        try:
            return duration(text)
        except (ValueError, KeyError, IndexError):
            raise ValueError("must be a time such as 15m or 12h") from None
    return text


WebAddress = Annotated[str, AfterValidator(_web_address)]
Time = Annotated[timedelta, BeforeValidator(_time), Field(gt=timedelta(0))]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Secret(_Part):
    """Where a secret is: a file, or an environment variable."""

    file: Path | None = None
    env: str | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.file is None) == (self.env is None):
            raise ValueError("say either file or env")
        return self

    def read(self) -> str:
        """Return the secret.

        Raises:
            ValueError: the file or the variable is not there, or is empty.
        """
        if self.env is not None:
            found = os.environ.get(self.env, "")
            where = f"the environment variable {self.env}"
        else:
            where = f"the file {self.file}"
            try:
                found = (self.file or Path()).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{where} cannot be read: {error}") from error
        if not found:
            raise ValueError(f"{where} is empty or not set")
        return found


class Rule(_Part):
    """See `core.claims.ClaimRule`."""

    claim: str = ""
    value: str = ""
    values: Mapping[str, str] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if bool(self.claim) == bool(self.value):
            raise ValueError("say either claim or value")
        return self

    def meaning(self) -> ClaimRule:
        """Return the same for the core."""
        return ClaimRule(self.claim, self.value, self.values)


class Issuer(_Part):
    """An OpenID provider that this hub believes about its own people."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    title: str = Field(min_length=1, max_length=100)
    issuer: WebAddress
    client_id: str = Field(min_length=1)
    client_secret: Secret | None = Field(default=None, description="None for a public client")
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    audiences: tuple[str, ...] = Field(default=(), description="Allowed besides the client id")
    acr_values: str = ""
    speaks_for: tuple[str, ...] = Field(min_length=1, description="Accounts of its people")
    user: Rule
    sector: Rule
    institution: Rule
    teams: Rule | None = None
    attributes: tuple[str, ...] = ()
    require: Mapping[str, tuple[str, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_and_scopes(self) -> Self:
        if self.name in _RESERVED:
            raise ValueError(f"the name '{self.name}' is the hub's own")
        if "openid" not in self.scopes:
            raise ValueError("scopes must have openid")
        return self

    def rules(self) -> ClaimRules:
        """Return how its claims are read."""
        return ClaimRules(
            user=self.user.meaning(),
            sector=self.sector.meaning(),
            institution=self.institution.meaning(),
            speaks_for=frozenset(map(AccountName, self.speaks_for)),
            teams=None if self.teams is None else self.teams.meaning(),
            attributes=self.attributes,
            require={name: frozenset(allowed) for name, allowed in self.require.items()},
        )


class Card(_Part):
    """The door for CAC and PIV cards, behind a proxy that has verified the certificate."""

    title: str = "CAC or PIV card"
    url: WebAddress = Field(description="Of /auth/cac, on the proxy's own host")
    proxy_secret: Secret
    people: Mapping[Annotated[str, Field(pattern=r"^\d{10}$")], str] = Field(
        description="User by EDIPI, the ten digits of the certificate's common name"
    )
    subjects: tuple[str, ...] = Field(
        min_length=1, description="Ends that a certificate's subject may have"
    )
    speaks_for: tuple[str, ...] = Field(min_length=1)
    sector: Rule
    institution: Rule

    def rules(self) -> ClaimRules:
        """Return how what the card says is read: `edipi` is its only claim."""
        return ClaimRules(
            user=ClaimRule("edipi", values=dict(self.people)),
            sector=self.sector.meaning(),
            institution=self.institution.meaning(),
            speaks_for=frozenset(map(AccountName, self.speaks_for)),
        )


class Sessions(_Part):
    """How long somebody stays signed in. `operator_idle` is for operators of the whole hub."""

    idle: Time = timedelta(minutes=15)
    operator_idle: Time = timedelta(minutes=10)
    absolute: Time = timedelta(hours=12)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if max(self.idle, self.operator_idle) > min(self.absolute, MAX_IDLE):
            raise ValueError(f"idle times are at most absolute, and at most {MAX_IDLE}")
        if self.absolute > MAX_ABSOLUTE:
            raise ValueError(f"absolute is at most {MAX_ABSOLUTE}")
        return self


class StepUp(_Part):
    """What a sign-in must be for decisions on requests and for another policy."""

    within: Time | None = Field(default=None, description="Of the issuer's `auth_time`")
    assurance: frozenset[str] = Field(
        default=frozenset(), description="Words of `acr` or `amr`, one of which it must say"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.within is None and not self.assurance:
            raise ValueError("say within, or assurance, or both")
        return self

    def sentence(self) -> str:
        """Return what is asked for, for people."""
        said = []
        if self.within is not None:
            said.append(f"a sign-in at most {int(self.within.total_seconds() // 60)} minutes old")
        if self.assurance:
            said.append(f"recognised by {' or '.join(sorted(self.assurance))}")
        return ", ".join(said)


class Linking(_Part):
    """Which issuers' identities one person may have, as one user, by signing in at both."""

    issuers: tuple[str, ...] = Field(min_length=2, description="Names of issuers; cac is the card")
    within: Time = Field(
        default=timedelta(minutes=10), description="How old both sign-ins may be, at most"
    )


class IdentityFile(_Part):
    """The whole file. Empty, nobody can sign in, and tokens are the only way."""

    version: Literal[1] = 1
    banner: str = Field(default="", max_length=10_000)
    sessions: Sessions = Sessions()
    step_up: StepUp | None = None
    linking: Linking | None = Field(default=None, description="Left out, nobody links")
    several_institutions: Literal["choose", "refuse"] = "refuse"
    development_beside_others: bool = False
    issuers: tuple[Issuer, ...] = ()
    card: Card | None = None

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        for field in ("name", "issuer"):
            seen = [getattr(issuer, field) for issuer in self.issuers]
            twice = next((each for each in seen if seen.count(each) > 1), None)
            if twice is not None:
                raise ValueError(f"two issuers have the {field} '{twice}'")
        return self

    @model_validator(mode="after")
    def _links_what_is_there(self) -> Self:
        known = {issuer.name for issuer in self.issuers} | {DEVELOPMENT}
        known |= {CARD} if self.card is not None else set()
        strange = sorted(set(self.linking.issuers) - known) if self.linking is not None else []
        if strange:
            raise ValueError(f"linking.issuers: there is no issuer '{strange[0]}'")
        return self

    @property
    def asks_age(self) -> bool:
        """Return whether anything here asks how old a sign-in is, so that issuers must say it."""
        return self.step_up is not None or self.linking is not None


def read_identity_file(file: Path) -> IdentityFile:
    """Return the file's content.

    Raises:
        Refused: it cannot be read, is not YAML, or each field that is wrong.
    """
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise _refused(file, f"{file} cannot be read: {error}") from error
    try:
        return IdentityFile.model_validate({} if raw is None else raw)
    except ValidationError as error:
        faults = tuple(
            Fault(".".join(map(str, each["loc"])) or "(the file)", each["msg"])
            for each in error.errors(include_url=False, include_input=False)
        )
        told = "; ".join(f"{fault.field}: {fault.reason}" for fault in faults)
        raise _refused(file, f"{file}: {told}", faults) from error


def _refused(file: Path, told: str, faults: tuple[Fault, ...] = ()) -> Refused:
    return Refused(
        title="Identity file refused",
        detail=told,
        field="COMMONPOOL_IDENTITY",
        value=str(file),
        next_step="Correct it; docs/identity.md describes every field.",
        faults=faults,
    )
