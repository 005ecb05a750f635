"""The one place that every answer of a simulated exchange passes, and what can go wrong there."""

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from trading_platform.kit.clock import Clock


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a server will send; `body` is JSON-able, text is sent as it is."""

    status: int
    body: Any
    headers: Mapping[str, str] = {}


class FaultKind(StrEnum):
    """REFUSE happens before the request is executed, the others after."""

    REFUSE = "REFUSE"
    DELAY = "DELAY"
    DROP = "DROP"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that will go wrong once, at the next call of `operation` (None: any)."""

    kind: FaultKind
    operation: str | None = None
    delay_s: float = 0.0
    answer: Answer | None = None


class Gate:
    """Hands requests through; each armed fault strikes once, oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._faults: list[Fault] = []

    def arm(self, fault: Fault) -> None:
        """Let something go wrong."""
        self._faults.append(fault)

    def delay_next_answer(self, delay_s: float, *, operation: str | None = None) -> None:
        """Execute, then wait before answering."""
        self.arm(Fault(kind=FaultKind.DELAY, operation=operation, delay_s=delay_s))

    def drop_next_answer_after_execution(self, *, operation: str | None = None) -> None:
        """Execute, then cut the connection instead of answering."""
        self.arm(Fault(kind=FaultKind.DROP, operation=operation))

    def refuse_before_execution(
        self, status: int, body: Any = "", *, operation: str | None = None
    ) -> None:
        """Answer with a status as a front proxy would, and execute nothing."""
        answer = Answer(status=status, body=body)
        self.arm(Fault(kind=FaultKind.REFUSE, operation=operation, answer=answer))

    async def respond(
        self, operation: str, execute: Callable[[], Answer | Awaitable[Answer]]
    ) -> Answer | None:
        """The answer to send; None: cut the connection."""
        fault = self._take(operation)
        if fault is not None and fault.kind is FaultKind.REFUSE:
            return fault.answer
        executed = execute()
        answer = executed if isinstance(executed, Answer) else await executed
        if fault is not None and fault.kind is FaultKind.DELAY:
            await self._clock.sleep(fault.delay_s)
        return None if fault is not None and fault.kind is FaultKind.DROP else answer

    def _take(self, operation: str) -> Fault | None:
        for index, fault in enumerate(self._faults):
            if fault.operation in (None, operation):
                return self._faults.pop(index)
        return None
