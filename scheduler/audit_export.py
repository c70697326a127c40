"""Check an export of the audit log: no hub and no database is needed, nor trusted."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256

from pydantic import ValidationError

from scheduler.core.audit import Broken, Chain, Head, Row
from scheduler.errors import Refused
from scheduler.wire.audit import AuditFault, AuditSeal, AuditVerdict

_FIELDS = frozenset(field.name for field in fields(Row))
_TEXT = _FIELDS - {"sequence", "at", "before", "after"}


@dataclass
class _Read:
    """What was read so far: the digest of the lines, and the seal once it came."""

    digest: str = ""
    seal: AuditSeal | None = None
    first: Row | None = None
    rows: int = 0


def verify_export(text: Iterable[str], known: Head | None = None) -> AuditVerdict:
    """Follow the chain in an export, and hold it against its seal and a checkpoint.

    Raises:
        Refused: a line is no row, or the seal at the end is missing or another file's.
    """
    read = _Read()
    chain = Chain(None, known)
    broken = chain.follow(_rows(text, read))
    if broken is None:
        broken = chain.ends(None)
    if broken is None:
        _check_seal(read)
    end = chain.head or Head()
    return AuditVerdict(
        first=read.first.sequence if read.first else 0,
        last=end.sequence,
        rows=chain.count,
        hash=end.hash,
        against_checkpoint=known is not None,
        fault=None if broken is None else _fault(broken),
    )


def _fault(broken: Broken) -> AuditFault:
    return AuditFault(sequence=broken.sequence, wrong=broken.wrong.value, sentence=broken.sentence)


def _rows(text: Iterable[str], read: _Read) -> Iterator[Row]:
    digest = sha256()
    for number, line in enumerate(text, 1):
        if read.seal is not None:
            raise _refused(f"line {number} comes after the seal")
        found = _parsed(line, number)
        if isinstance(found, AuditSeal):
            read.seal, read.digest = found, digest.hexdigest()
            continue
        digest.update(line.encode())
        read.first, read.rows = read.first or found, read.rows + 1
        yield found


def _parsed(line: str, number: int) -> Row | AuditSeal:
    try:
        value = json.loads(line)
        if isinstance(value, dict) and value.keys() == _FIELDS:
            return _row(value)
        return AuditSeal.model_validate_json(line)
    except (ValueError, TypeError, ValidationError) as error:
        raise _refused(f"line {number} is neither a row of the audit log nor its seal") from error


def _row(value: dict[str, object]) -> Row:
    texts = {name: value[name] for name in _TEXT}
    kept = {name: value[name] for name in ("before", "after")}
    if not (
        isinstance(value["sequence"], int)
        and all(isinstance(one, str) for one in texts.values())
        and all(one is None or isinstance(one, str) for one in kept.values())
    ):
        raise TypeError("a field has another type")
    at = datetime.fromisoformat(str(value["at"]))
    return Row(**{**value, "at": at})  # type: ignore[arg-type]  # checked just above


def _check_seal(read: _Read) -> None:
    seal = read.seal
    if seal is None:
        raise _refused("it does not end with a seal: its tail is missing")
    if (seal.rows, seal.sha256) != (read.rows, read.digest):
        raise _refused(f"its seal is of {seal.rows} rows with another digest")


def _refused(detail: str) -> Refused:
    return Refused(
        title="Not a whole export",
        detail=detail,
        field="FILE",
        next_step="export it again: commonpool audit export",
    )
