"""The database: engine, backends for SQLite and PostgreSQL, tables and their migrations."""
