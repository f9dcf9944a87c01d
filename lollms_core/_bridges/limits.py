"""A time limit for what is awaited."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["wait_for"]

T = TypeVar("T")

if sys.version_info >= (3, 12):
    wait_for = asyncio.wait_for
else:

    async def wait_for(awaitable: Awaitable[T], timeout: float) -> T:
        """`asyncio.wait_for`, which before Python 3.12 loses a cancellation that comes as what it waits for ends.

        Raises:
            asyncio.TimeoutError: it did not end within `timeout` seconds; it has been cancelled, and has ended.
        """
        work = asyncio.ensure_future(awaitable)
        try:
            await asyncio.wait({work}, timeout=timeout)
            if work.done():
                return work.result()
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
        raise asyncio.TimeoutError
