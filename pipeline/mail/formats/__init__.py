"""The table formats of attachments and exports: CSV, XLSX, JSON lines (see `pipeline.registry`)."""
