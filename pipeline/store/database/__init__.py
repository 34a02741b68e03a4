"""The database by URL: engine, dialects, tables and their migrations."""
