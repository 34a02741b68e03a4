"""Stop the service when a newer version has migrated the database.

This program no longer works with the database then.
"""

from __future__ import annotations

import logging

from pipeline.errors import StoreError
from pipeline.service.state import ServiceState
from pipeline.store.database.migrate import refuse_unsupported_of
from pipeline.store.database.schema_version import SchemaVersionError

WATCH_EVERY_S = 5.0

logger = logging.getLogger("pipeline.service")


class SchemaWatch:
    """Looks at the version of the database every few seconds.

    Between two looks, Store.write() refuses each write of a program that is too old.
    """

    def __init__(self, state: ServiceState) -> None:
        self._state = state
        self._problem: SchemaVersionError | None = None

    async def look(self) -> None:
        """Stop the service if this program is too old for the database."""
        try:
            await self._state.ask(refuse_unsupported_of)
        except SchemaVersionError as error:
            if self._problem is None:
                logger.error("the service stops: %s", error)  # noqa: TRY400
            self._problem = error
            self._state.stop()
        except StoreError:
            return  # the heartbeat reports a database that cannot be read

    def raise_problem(self) -> None:
        """Raise SchemaVersionError if the service was stopped because of the version of the database."""
        if self._problem is not None:
            raise self._problem
