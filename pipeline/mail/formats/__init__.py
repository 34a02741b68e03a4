"""Formats of tables of changes: CSV, XLSX and JSON lines. A new one is one file here and one line in `pipeline.registry`."""
