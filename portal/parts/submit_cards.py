"""What would become of a job, on the page: cards to choose from, and the list of checks."""

import shlex
from datetime import datetime, timedelta

import streamlit as st

from portal.dry_run_words import (
    cards,
    chance_word,
    done_word,
    hours_word,
    price_word,
    start_word,
)
from portal.format import QUOTA_WORDS, TIER_WORDS, count, plain, span
from portal.job_forms import command_line, commonpool_line, python_form, yaml_form
from portal.session import Visit
from portal.submission import Wish, request
from scheduler.core.model import QuotaClass
from scheduler.core.ways import Way
from scheduler.wire.dry_run import CandidateView, DryRunView
from scheduler.wire.jobs import JobRequest

_TITLES = {
    ("starts first", "done first", "cheapest"): "Starts first, done first, and cheapest",
    ("starts first", "done first"): "Starts first and is done first",
    ("starts first", "cheapest"): "Starts first and is cheapest",
    ("done first", "cheapest"): "Done first and cheapest",
}


def draw_cards(found: DryRunView, now: datetime) -> int | None:
    """Draw a card for each candidate that is best at something; return the chosen one's place.

    One candidate may be best at all: then there is one card, and nothing to choose.
    """
    shown = cards(found)
    if not shown:
        st.info(
            "No start could be foreseen: see the checks. It can be submitted all the same, and"
            " waits with its reasons.",
            icon=":material/hourglass_empty:",
        )
        return None
    for column, (place, best_at) in zip(st.columns(len(shown)), shown, strict=True):
        with column, st.container(border=True, gap="xsmall"):
            _card(found.candidates[place], title(best_at), now)
    if len(shown) == 1:
        return shown[0][0]
    usual = next((at for at, (place, _) in enumerate(shown) if place == found.usual), 0)
    chosen = st.radio(
        "Submit it as",
        range(len(shown)),
        usual,
        format_func=lambda at: title(shown[at][1]),
        horizontal=True,
        help="Done first, unless it costs more than 1.5 times the cheapest.",
    )
    return shown[chosen or 0][0]


def title(best_at: tuple[str, ...]) -> str:
    """Return what a card is best at, as its title."""
    return _TITLES.get(best_at, best_at[0].capitalize())


def _card(one: CandidateView, name: str, now: datetime) -> None:
    st.markdown(f"**{name}**")
    st.markdown(
        f"Starts **{plain(start_word(one, now))}**  \nDone **{plain(done_word(one, now))}**  \n"
        f"Costs **{plain(price_word(one))} H100e-hours**"
        f" (at most {plain(hours_word(one.price_most or 0.0))}, by its limit)"
    )
    tier = TIER_WORDS[one.tier] if one.tier else "?"
    terms = QUOTA_WORDS[one.quota_class] if one.quota_class else ""
    fewer = ", half as many" if one.way is Way.FEWER else ""
    st.caption(
        f"{tier} tier: {plain(one.pool or '')}, {count(one.gpus, 'GPU')}{fewer}, {terms}  \n"
        f"Chance of recall: {plain(chance_word(one))}"
    )


def draw_checks(found: DryRunView, place: int | None, wish: Wish) -> None:
    """Draw what was checked before anything is submitted, each with its numbers."""
    one = found.candidates[place or 0]
    limit = span_of(found.time_limit_seconds)
    checks: list[tuple[bool | None, str]] = [
        (True, f"Admitted: paid by {found.account}, label {wish.label}, at most {limit}")
    ]
    if one.pool is not None:
        whole = "now" if one.starts_now else "later"
        checks.append((True, f"{one.pool} holds {count(one.gpus, 'GPU')} for it, {whole}"))
    if not one.starts_now:
        checks += [
            (None, f"{verdict.pool or 'Every pool'}: {verdict.sentence}")
            for verdict in one.verdicts
        ]
    if one.quota is not None:
        in_quota = one.quota_class is QuotaClass.IN_QUOTA
        checks.append((True if in_quota else None, f"Quota: {one.quota.sentence}"))
    if one.recall is not None:
        checks.append((True if not one.recall.chance else None, f"Recall: {one.recall.sentence}"))
    checks.append(_files(wish))
    checks.append((None, f"Run time: {one.length.sentence}"))
    lines = [f"{_ICONS[fine]} {plain(text)}" for fine, text in checks]
    st.markdown("  \n".join(lines))
    if found.same_as:
        st.info(f"The same request submitted {plain(found.same_as)} before: it is that job again.")
    if found.note:
        st.caption(plain(found.note))


_ICONS: dict[bool | None, str] = {True: ":material/check_circle:", None: ":material/info:"}


def _files(wish: Wish) -> tuple[bool | None, str]:
    if wish.files is None:
        return None, "Files: none are uploaded here; the command finds what is installed"
    return True, f"Files: a package of {max(1, len(wish.files) // 1024):,} KiB goes along"


def span_of(seconds: int) -> str:
    """Return seconds as people say them."""
    return span(timedelta(seconds=seconds))


def draw_forms(wish: Wish, here: Visit) -> None:
    """Draw the same job for other tools, ready to copy; the token stays in its file."""
    asked = request(wish)
    if not isinstance(asked, JobRequest):
        st.caption("Once the fields are right, the same job stands here for other tools.")
        return
    if wish.template:
        st.markdown(
            f"Its program first, to run from where it lies: `commonpool templates {wish.template}"
            " --save .`"
        )
    draw_request_forms(asked, here)


def draw_request_forms(asked: JobRequest, here: Visit) -> None:
    """Draw a request as Ray's command, `commonpool submit`, YAML and Python."""
    file = here.person.token_file
    in_shell = f'"$(cat {shlex.quote(str(file))})"' if file else '"$COMMONPOOL_TOKEN"'
    name = str(file) if file else None
    ray, own, as_yaml, python = st.tabs(["Ray", "commonpool", "YAML", "Python"])
    with ray:
        line = command_line(asked, here.hub.url, in_shell)
        if line is None:
            st.caption("Ray's command line changes this command; its Python client does not.")
        else:
            st.code(line, language=None, wrap_lines=True)
    with own:
        st.code(commonpool_line(asked, here.hub.url, name), language=None, wrap_lines=True)
    with as_yaml:
        st.caption("As `job.yaml` beside your program: `commonpool submit --file job.yaml`")
        st.code(yaml_form(asked), language=None, wrap_lines=True)
    with python:
        st.code(python_form(asked, here.hub.url, name), language=None, wrap_lines=True)
