"""Table formats of attachments and exports: CSV, XLSX, JSON lines; registered in `pipeline.registry`."""
