"""Table formats of attachments and exports: CSV, XLSX, JSON lines. `pipeline.registry` lists them."""
