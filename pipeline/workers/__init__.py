"""Processes that perform runs: the parent's side (runner, process), the child's (entry, crawl_run)."""
