"""Who is what on which project, and how members come and go."""

from tests.api.test_requests import WHY, decide


async def named(house, who, account):
    found = (await house.call(who, "GET", "/v1/projects")).json()["projects"]
    return next(one for one in found if one["account"] == account)


def people(project):
    return {one["user"]: one["roles"] for one in project["people"]}


async def test_a_project_names_its_leads_members_approvers_and_place(small):
    project = await named(small, "dana", "arl-vision")
    assert people(project)["dana"] == ["researcher"]
    assert people(project)["lee"] == ["lead", "approver"]
    assert (project["institution"], project["sector"]) == ("arl", "dod")
    assert (project["yours"], project["approvers"]) == (["researcher"], ["lee"])
    assert project["may_ask"]
    assert not (await named(small, "alex", "arl-vision"))["may_ask"]


async def test_a_member_comes_and_goes_by_request_and_each_is_in_force_at_once(small):
    base = {"kind": "membership", "account": "arl-vision", "role": "researcher"}
    for change in ({"add": ["noor"]}, {"remove": ["noor"]}):
        message = {"change": base | change, "reason": WHY}
        asked = (await small.call("dana", "POST", "/v1/requests", json=message)).json()
        assert ("noor" in people(await named(small, "dana", "arl-vision"))) == ("remove" in change)
        assert (await decide(small, "lee", asked)).json()["state"] == "applied"
        assert ("noor" in people(await named(small, "dana", "arl-vision"))) == ("add" in change)
