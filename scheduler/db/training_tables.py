"""The table of what each model line has been trained with, in petaFLOP (R17)."""

from sqlalchemy import BigInteger, CheckConstraint, Column, String, Table

from scheduler.db.tables import metadata

# Its row is what submissions of one line wait for, so that no two of them read the same sum.
model_lines = Table(
    "model_lines",
    metadata,
    Column("institution", String(120), primary_key=True),
    Column("line", String(63), primary_key=True),
    Column("pflop", BigInteger, nullable=False),
    CheckConstraint("pflop >= 0", name="pflop"),
)
