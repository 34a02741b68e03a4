"""Dispatchers hand waiting runs to the processes that perform them.

base.py describes the interface, and each other dispatcher has a module of its own.
"""

from pipeline.workers.dispatcher.base import Capacity, Dispatcher, Work
from pipeline.workers.dispatcher.choose import open_dispatcher
from pipeline.workers.dispatcher.local import LocalDispatcher

__all__ = ["Capacity", "Dispatcher", "LocalDispatcher", "Work", "open_dispatcher"]
