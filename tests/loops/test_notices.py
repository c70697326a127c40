"""People are told by a real mail server and a real webhook; what cannot be sent is not lost."""

import asyncio
import hashlib
import hmac
import json
import threading
from datetime import timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aiosmtpd.controller import Controller
from pydantic import SecretStr
from sqlalchemy import select

from scheduler.core.audit import Who
from scheduler.db.notices import GIVES_UP
from scheduler.db.policies import policy_in_force, save_policy
from scheduler.db.request_steps import Asked, Step, create
from scheduler.db.request_tables import notices, requests
from scheduler.loops.notices import NoticeLoop
from scheduler.notify import Smtp, Webhook
from scheduler.wire.requests import BudgetChange
from tests.api.conftest import NOON, POLICY, HandClock
from tests.db.conftest import db, templates
from tests.e2e.hub_process import free_port

__all__ = ["db", "templates"]

WITH_MAIL = POLICY.replace("{name: lee,", "{name: lee, email: lee@arl.example,")


class Mailbox:
    """What a mail server took; it refuses for as long as `refuses` is set."""

    def __init__(self):
        self.letters = []
        self.refuses = False

    async def handle_DATA(self, server, session, envelope):  # noqa: N802  # aiosmtpd's name
        del server, session
        if self.refuses:
            return "451 try again later"
        self.letters.append((envelope.rcpt_tos, message_from_bytes(envelope.content)))
        return "250 OK"


@pytest.fixture
def mailbox():
    return Mailbox()


@pytest.fixture
def smtp(mailbox):
    port = free_port()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield Smtp("127.0.0.1", port, "hub@commonpool.example", security="none")
    controller.stop()


async def asked(db, name="r1"):
    async with db.transaction() as conn:
        await save_policy(conn, WITH_MAIL, NOON, "test")
        change = BudgetChange(
            kind="budget",
            id=name,
            account="arl",
            h100e_hours=5,
            valid_from=NOON,
            valid_to=NOON + timedelta(days=9),
        )
        step = Step(conn, Who("dana", "api"), name, NOON)
        await create(step, Asked(change, "we need it"), await policy_in_force(conn))


async def stored(db):
    async with db.reading() as conn:
        return [dict(row) for row in (await conn.execute(select(notices))).mappings()]


async def test_an_approver_gets_an_e_mail_once(db, smtp, mailbox):
    await asked(db)
    loop = NoticeLoop(db, HandClock(), [smtp], "https://pool.example/")
    await loop.step()
    await loop.step()
    ((to, letter),) = mailbox.letters
    assert to == ["lee@arl.example"]
    assert letter["Subject"] == "[Commonpool] Request r1 awaits your decision: sent by dana"
    text = letter.get_payload(decode=True).decode()
    assert "we need it" in text
    assert "https://pool.example/request?id=r1" in text


async def test_a_server_that_refuses_is_asked_again_later_and_nothing_is_lost(db, smtp, mailbox):
    await asked(db)
    clock = HandClock()
    loop = NoticeLoop(db, clock, [smtp])
    mailbox.refuses = True
    await loop.step()
    (row,) = await stored(db)
    assert (row["attempts"], row["sent_at"]) == (1, None)
    assert "451" in row["error"]
    mailbox.refuses = False
    await loop.step()
    assert mailbox.letters == [], "not before its pause is over"
    clock.forward(timedelta(minutes=1))
    # Another process goes on from the database alone, as after a hub that died.
    await NoticeLoop(db, clock, [smtp]).step()
    assert len(mailbox.letters) == 1


async def test_a_hub_that_dies_before_it_marks_sends_the_same_letter_again(db, smtp, mailbox):
    """At least once: the copy has the same Message-ID, by which it is known."""
    await asked(db)

    class Dies:
        def send(self, letter):
            smtp.send(letter)
            raise SystemError("the hub dies here")

    with pytest.raises(SystemError):
        await NoticeLoop(db, HandClock(), [Dies()]).step()
    await NoticeLoop(db, HandClock(), [smtp]).step()
    ids = [letter["Message-ID"] for _, letter in mailbox.letters]
    assert len(ids) == 2
    assert len(set(ids)) == 1


async def test_after_days_of_refusals_it_is_given_up_and_says_so(db, smtp, mailbox):
    await asked(db)
    clock = HandClock()
    mailbox.refuses = True
    clock.forward(GIVES_UP + timedelta(hours=1))
    await NoticeLoop(db, clock, [smtp]).step()
    (row,) = await stored(db)
    assert row["error"].startswith("given up: ")


async def test_who_has_no_address_is_told_by_nobody_and_that_is_noted(db, smtp, mailbox):
    await asked(db)
    async with db.transaction() as conn:
        await save_policy(conn, POLICY, NOON, "test")
    await NoticeLoop(db, HandClock(), [smtp]).step()
    (row,) = await stored(db)
    assert (mailbox.letters, row["error"]) == ([], "no way leads to this person")


async def test_the_loop_closes_what_nobody_decided_in_time(db):
    await asked(db)
    clock = HandClock()
    clock.forward(timedelta(days=15))
    await NoticeLoop(db, clock, []).step()
    async with db.reading() as conn:
        assert (await conn.execute(select(requests.c.state))).scalar_one() == "expired"


async def test_without_a_policy_there_is_nobody_to_tell(db):
    assert await NoticeLoop(db, HandClock(), []).step() > 0


async def test_a_webhook_is_told_signed_and_with_a_key(db):
    took = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self):  # the library's name
            content = self.rfile.read(int(self.headers["Content-Length"]))
            took.append((dict(self.headers), content))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *said):
            """Keep quiet."""

    server = HTTPServer(("127.0.0.1", 0), Door)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        hook = Webhook(f"http://127.0.0.1:{server.server_port}/", SecretStr("shared"))
        await asked(db)
        await NoticeLoop(db, HandClock(), [hook]).step()
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()
    ((headers, content),) = took
    digest = hmac.new(b"shared", content, hashlib.sha256).hexdigest()
    assert headers["X-Commonpool-Signature"] == f"sha256={digest}"
    assert json.loads(content)["recipient"] == "lee"
    assert headers["Idempotency-Key"] == json.loads(content)["key"]
