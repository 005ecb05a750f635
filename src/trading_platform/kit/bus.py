"""Facts for whoever listens, within one process. Commands are direct calls, never on the bus."""

import asyncio
from collections import deque
from typing import Any


class Subscription:
    """A bounded mailbox. When it is full the oldest fact is dropped and counted in `dropped`."""

    def __init__(self, bus: "Bus", kinds: tuple[type, ...], size_max: int) -> None:
        self._bus = bus
        self._facts: deque[Any] = deque(maxlen=size_max)
        self._ready = asyncio.Event()
        self.kinds = kinds
        self.dropped = 0

    def offer(self, fact: Any) -> None:
        """Take one fact; never waits."""
        if len(self._facts) == self._facts.maxlen:
            self.dropped += 1
        self._facts.append(fact)
        self._ready.set()

    async def next(self) -> Any:
        """Wait for the next fact, oldest first."""
        while not self._facts:
            self._ready.clear()
            await self._ready.wait()
        return self._facts.popleft()

    def close(self) -> None:
        """Stop listening."""
        self._bus.forget(self)


class Bus:
    """Hands every published fact to the subscriptions that asked for its type."""

    def __init__(self) -> None:
        self._subscriptions: list[Subscription] = []

    def subscribe(self, *kinds: type, size_max: int = 1024) -> Subscription:
        """Listen to facts of these types."""
        subscription = Subscription(self, kinds, size_max)
        self._subscriptions.append(subscription)
        return subscription

    def publish(self, fact: Any) -> None:
        """Offer a fact to all who asked; a slow listener never holds up the publisher."""
        for subscription in self._subscriptions:
            if isinstance(fact, subscription.kinds):
                subscription.offer(fact)

    def forget(self, subscription: Subscription) -> None:
        """Remove a subscription; unknown ones are ignored."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)
