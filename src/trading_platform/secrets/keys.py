"""What wraps data keys: a master key that never leaves its provider."""

from typing import Protocol

from trading_platform.secrets.envelope import Context, DataKey
from trading_platform.secrets.model import SecretBytes


class KeyProvider(Protocol):
    """Makes data keys and unwraps them, bound to a context.

    Raises UNUSABLE_DATA (changed, or not ours), NOT_PERMITTED (denied), PROVIDER_UNAVAILABLE (slow,
    throttled, down); never waits for long.
    """

    @property
    def key_id(self) -> str:
        """The master key that new data keys are wrapped with."""

    async def new_data_key(self, context: Context) -> DataKey:
        """A key that was never used before."""

    async def unwrap(self, wrapped: bytes, context: Context) -> SecretBytes:
        """The data key in clear; only for the context it was made for."""
