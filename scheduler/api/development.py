"""The page of the development issuer: choose whom to be. It is there only where it may be."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from scheduler.api import pages
from scheduler.api.cookies import check_origin
from scheduler.api.deps import hub_of
from scheduler.api.forms import form_of, told
from scheduler.core.claims import home_accounts
from scheduler.core.model import AccountName
from scheduler.core.policy import Policy
from scheduler.core.policy_found import ACCOUNT_PEOPLE
from scheduler.core.roles import institution
from scheduler.errors import Refused
from scheduler.identity.development import Asked, DevelopmentIssuer

router = APIRouter(include_in_schema=False)


@router.get("/auth/development/authorize")
@told
async def choose(request: Request) -> Response:
    """Offer everybody whom the policy knows."""
    issuer, _ = _asked(request)
    del issuer
    policy = await hub_of(request).policy()
    people = [{"name": user.name, "said": _said(policy, user.name)} for user in policy.users]
    return pages.page(
        "development", "Whom do you want to be?", people=people, query=request.url.query
    )


@router.post("/auth/development/authorize")
@told
async def grant(request: Request) -> Response:
    """Send the browser back with a code for whoever was chosen."""
    hub = hub_of(request)
    check_origin(request, hub.desk)
    issuer, asked = _asked(request)
    user = (await form_of(request)).get("user", "")
    policy = await hub.policy()
    if user not in {each.name for each in policy.users}:
        raise Refused("Unknown person", f"The policy knows no user '{user[:63]}'.", status=404)
    code = issuer.grant(asked, claims_of(policy, user), hub.clock.now())
    query = urlencode({"code": code, "state": asked.state, "iss": issuer.url})
    return RedirectResponse(f"{asked.redirect_uri}?{query}", status_code=303)


def claims_of(policy: Policy, user: str) -> Mapping[str, object]:
    """Return what the development issuer says of a user: what the policy says."""
    homes = home_accounts(policy, user)
    sectors = {account.name: account.sector.value for account in policy.accounts}
    tops = [institution(policy, name) or name for name in homes]
    return {
        "sub": user,
        "preferred_username": user,
        "sector": sectors[tops[0]] if tops else "",
        "institution": list(dict.fromkeys(tops)),
        "acr": "development",
    }


def _asked(request: Request) -> tuple[DevelopmentIssuer, Asked]:
    issuer = hub_of(request).desk.development
    if issuer is None:
        raise Refused("Not found", "This hub has no development issuer.", status=404)
    asked = issuer.asked(request.query_params)
    if isinstance(asked, str):
        raise Refused("Not valid", f"This is no sign-in of this hub: {asked}.", status=400)
    return issuer, asked


_WORDS = {
    "members": "researcher",
    "leads": "lead",
    "approvers": "approver",
    "operators": "operator",
    "auditors": "auditor",
}


def _said(policy: Policy, user: str) -> str:
    """Return who somebody is in words, such as `lead and approver of arl (dod)`."""
    found = [_on(policy, name, user) for name in home_accounts(policy, user)]
    return "; ".join(found) or "no account names this person"


def _on(policy: Policy, name: AccountName, user: str) -> str:
    account = next(each for each in policy.accounts if each.name == name)

    def words() -> Iterator[str]:
        for people in ACCOUNT_PEOPLE:
            if user in getattr(account, people):
                yield _WORDS[people]

    return f"{' and '.join(words())} of {name} ({account.sector.value})"
