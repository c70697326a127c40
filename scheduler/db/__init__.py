"""All SQL: SQLite (WAL) as the embedded default, PostgreSQL for real use.

Functions take an `AsyncConnection` and never commit: the frame (a request, a loop's
step) does, by `Database.transaction()`.
"""
