"""Perform runs, and render digests, in child processes.

Parent process: runner, members, digests, process. Child process: entry, crawl_run.
"""
