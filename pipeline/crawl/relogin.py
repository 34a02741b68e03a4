"""Log in again once for all requests of a crawl whose responses show an expired login."""

from __future__ import annotations

import asyncio

from pipeline.session.login.expiry import LoginState


class Relogin:
    """Performs a new login, for which all requests of a crawl wait."""

    def __init__(self, login_state: LoginState) -> None:
        self.login_state = login_state
        self._under_way: asyncio.Task[None] | None = None

    async def settled(self) -> int:
        """Wait until no login is in progress, and return the epoch of the login.

        If the login fails, this method raises no error; renew() raises the error for the requests that asked for the login.
        """
        while self._under_way is not None:
            await asyncio.wait({self._under_way})
        return self.login_state.epoch

    async def renew(self, epoch: int) -> None:
        """Log in again, unless there is already a login newer than `epoch`. If the login fails, raise its error."""
        if self._under_way is None:
            if self.login_state.is_stale(epoch):
                return
            self._under_way = asyncio.create_task(asyncio.to_thread(self.login_state.renew, epoch))
            self._under_way.add_done_callback(self._over)
        await asyncio.shield(self._under_way)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way = None
        if not task.cancelled():
            task.exception()  # marks the exception as retrieved, since the requests that wait for the login may have been cancelled
