"""Several questions to the upstreams at the same time, in threads that touch no database."""

import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

AT_ONCE = 4  # questions in flight from one caller; more of them would only meet Microsoft's limits sooner


def all_of(*calls: Callable[[], T]) -> list[T]:
    """What the calls return, in their order, under the caller's budget. Raises what the first that failed raised.

    Nobody waits for a thread when there is only one call.
    """
    if len(calls) <= 1:
        return [call() for call in calls]
    with ThreadPoolExecutor(max_workers=min(len(calls), AT_ONCE)) as pool:
        futures = [pool.submit(contextvars.copy_context().run, call) for call in calls]
        return [future.result() for future in futures]
