"""The database: the engine, the backends for SQLite and PostgreSQL, the tables and the migrations."""
