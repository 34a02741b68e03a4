"""Processes that perform runs: the parent's side (runner, process, forkserver) and the child's side (entry, crawl_run)."""
