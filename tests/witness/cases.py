"""The cases of a self-test, one after the other."""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from typing import NoReturn

Case = Callable[[], Awaitable[None]]


def run(cases: Iterable[Case], all_time: float) -> NoReturn:
    """Runs the cases within `all_time` seconds and exits: 1 when one has failed."""
    os.environ["PYTHONUNBUFFERED"] = "1"
    sys.exit(asyncio.run(outcome(cases, all_time)))


async def outcome(cases: Iterable[Case], all_time: float) -> int:
    failed = 0
    async with asyncio.timeout(all_time):
        for case in cases:
            try:
                await case()
                print(f"ok      {case.__name__}", flush=True)
            except (AssertionError, TimeoutError, ValueError) as error:
                failed += 1
                print(f"FAILED  {case.__name__}: {error!r}", flush=True)
    return 1 if failed else 0
