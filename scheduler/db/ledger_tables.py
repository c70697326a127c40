"""The table of loans: whose GPUs a borrowed run was leased, as it was then (R1).

Amounts and balances are not stored. Times and factors are the lease's usage interval's.
"""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Integer, String, Table, UniqueConstraint

from scheduler.db.tables import BigKey, metadata

# Institution, sector and tier are those of the policy that made the loan: none rewrites it.
loans = Table(
    "loans",
    metadata,
    Column("id", BigKey, primary_key=True, autoincrement=True),
    Column("run_id", String(80), ForeignKey("runs.id"), nullable=False),
    Column("lender", String(120), nullable=False),
    Column("lender_institution", String(120), nullable=False),
    Column("lender_sector", String(16), nullable=False),
    Column("borrower", String(120), nullable=False),
    Column("borrower_institution", String(120), nullable=False),
    Column("borrower_sector", String(16), nullable=False),
    Column("tier", String(16), nullable=False),
    Column("gpus", Integer, nullable=False),
    UniqueConstraint("run_id", "lender"),
    CheckConstraint("gpus >= 1", name="gpus"),
)
