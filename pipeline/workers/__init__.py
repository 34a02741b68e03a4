"""Processes that perform runs: modules of the parent (runner, process) and child (entry, crawl_run)."""
