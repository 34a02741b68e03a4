"""Perform runs in child processes. Parent process: runner, process. Child process: entry, crawl_run."""
