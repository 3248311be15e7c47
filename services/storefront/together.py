"""Questions asked at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar, overload

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")


@overload
async def together(first: Awaitable[A], second: Awaitable[B], /) -> tuple[A, B]: ...
@overload
async def together(first: Awaitable[A], second: Awaitable[B], third: Awaitable[C], /) -> tuple[A, B, C]: ...
@overload
async def together(
    first: Awaitable[A], second: Awaitable[B], third: Awaitable[C], fourth: Awaitable[D], /
) -> tuple[A, B, C, D]: ...
@overload
async def together(*asked: Awaitable[A]) -> tuple[A, ...]: ...
async def together(*asked: Awaitable[Any]) -> tuple[Any, ...]:
    """The answers; the first failure ends the other questions, and is raised as it is."""
    if len(asked) == 1:  # it needs no task of its own
        return (await asked[0],)

    async def answered(question: Awaitable[Any]) -> Any:
        return await question

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(answered(question)) for question in asked]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return tuple(task.result() for task in tasks)
