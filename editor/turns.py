"""One piece of work at a time for the model, in a thread of its own, and few that wait."""
from __future__ import annotations

import asyncio
import math
import time
from concurrent.futures import ThreadPoolExecutor

from starlette.exceptions import HTTPException

CLIENT_GONE = 499  # as nginx logs it; nobody reads that answer


class Turns:
    """A queue for the model. most: work in the queue, that which runs included; more is refused with 503 and Retry-After."""

    def __init__(self, most: int = 8):
        self.most, self.waiting, self.done, self.seconds = most, 0, 0, 0.1
        self._lock, self._thread = asyncio.Lock(), ThreadPoolExecutor(1, "drawing")

    async def run(self, request, work, *arguments):
        """`work(*arguments)` when its turn comes. Work whose client left while it waited is dropped. Raises HTTPException."""
        if self.waiting >= self.most:
            seconds = max(1, math.ceil(self.waiting * self.seconds))
            raise HTTPException(503, f"{self.waiting} drawings are waiting already; try again in {seconds} s",
                                {"Retry-After": str(seconds)})
        self.waiting += 1
        try:
            async with self._lock:
                if await request.is_disconnected():
                    raise HTTPException(CLIENT_GONE, "the client left")
                begun = time.perf_counter()
                result = await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
                self.seconds += 0.2 * (time.perf_counter() - begun - self.seconds)  # a running average
                self.done += 1
                return result
        finally:
            self.waiting -= 1
