"""Log in again once for all requests of a crawl that meet the expired login."""

from __future__ import annotations

import asyncio

from pipeline.session.login.expiry import LoginState


class Relogin:
    """The new login that all requests of a crawl wait for."""

    def __init__(self, login_state: LoginState) -> None:
        self.login_state = login_state
        self._under_way: asyncio.Task[None] | None = None

    async def settled(self) -> int:
        """Wait until no login is under way, and return the epoch. The requests that met the expired login handle its failure."""
        while self._under_way is not None:
            await asyncio.wait({self._under_way})
        return self.login_state.epoch

    async def renew(self, epoch: int) -> None:
        """Log in again unless that was done since `epoch`. Raises the error of the login."""
        if self._under_way is None:
            if self.login_state.is_stale(epoch):
                return
            self._under_way = asyncio.create_task(asyncio.to_thread(self.login_state.renew, epoch))
            self._under_way.add_done_callback(self._over)
        await asyncio.shield(self._under_way)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._under_way = None
        if not task.cancelled():
            task.exception()  # marks it as retrieved: each waiter raises it, and there may be no waiter left
