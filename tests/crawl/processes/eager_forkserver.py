"""Importing this starts a forkserver whose crawls reach the thresholds of `processes = "auto"`.

See eager.py.
"""

from pipeline.workers.forkserver import warm_up

warm_up("tests.crawl.processes.eager")
