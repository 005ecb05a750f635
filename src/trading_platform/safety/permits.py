"""Short-lived permits in the cache: what lets the admission script allow an order.

1. A permit speaks of the truth as read after a moment of the server's own clock, and ends
   PERMIT_US after that moment, however late it was written: a stalled server cannot prolong one.
2. Permits and revocations of a tenant are ordered by that moment; an older one never replaces a
   newer one, so a reading from before an activation cannot undo its revocation.
3. The mirror can only refuse. One that is newer and active holds permits back even when the records
   do not know it (they may have been restored from a backup).
"""

import asyncio
from collections.abc import Iterator, Sequence

import msgspec

from trading_platform.cache.link import Link, Script, unavailable
from trading_platform.limits.keys import mirror_key, permit_key
from trading_platform.limits.scripts import CLOCK, PERMIT_US
from trading_platform.safety.switch import (
    PLATFORM,
    Board,
    SwitchState,
    halted_exchanges,
    tenant_scope,
)

_AT_ONCE = 500

_MIRROR = """
-- Whether the cache remembers a later activation than the one given.
local function remembers_more(key, epoch)
  local mirror = redis.call('GET', key)
  if not mirror then return false, mirror end
  local fine, seen = pcall(cjson.decode, mirror)
  if not fine or type(seen) ~= 'table' then return false, mirror end
  return seen.active ~= false and (tonumber(seen.epoch) or 0) > epoch, mirror
end
"""

_ISSUE = Script.of(
    CLOCK
    + _MIRROR
    + """
local read_at, life = tonumber(ARGV[1]), tonumber(ARGV[2])
local left = read_at + life - now
if read_at > now or left <= 0 then return 0 end
local permit = redis.call('GET', KEYS[2])
local seen_at = tonumber(string.match(permit or '', '^(%d+)|') or '')
if seen_at and seen_at <= now and seen_at > read_at then return 0 end
local more, mirror = remembers_more(KEYS[1], tonumber(ARGV[5]))
if more then return 2 end
if ARGV[4] == '' then
  if mirror then redis.call('DEL', KEYS[1]) end
elseif mirror ~= ARGV[4] then
  redis.call('SET', KEYS[1], ARGV[4])
end
redis.call('SET', KEYS[2], string.format('%.0f', read_at) .. ARGV[3], 'PX', math.ceil(left / 1000))
return 1
"""
)
"""Keys: mirror, permit. Arguments: read at us, life us, what it says, mirror or '', its epoch."""

_REVOKE = Script.of(
    CLOCK
    + _MIRROR
    + """
if ARGV[2] ~= '' and not remembers_more(KEYS[1], tonumber(ARGV[3])) then
  redis.call('SET', KEYS[1], ARGV[2])
end
redis.call('SET', KEYS[2], string.format('%.0f', now) .. '|R|', 'PX', tonumber(ARGV[1]) / 1000)
return 1
"""
)
"""Keys: mirror, permit. Arguments: life us, mirror or '', its epoch."""


class Permits:
    """Issues and revokes; every method raises PROVIDER_UNAVAILABLE when the cache is away."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def server_us(self) -> int:
        """The server's clock, in microseconds since the epoch."""
        reply = await self._link.call("TIME")
        match reply:
            case [bytes(seconds), bytes(microseconds)]:
                return int(seconds) * 1_000_000 + int(microseconds)
        raise unavailable("answered TIME with something else")

    async def issue(self, tenants: Sequence[str], board: Board, read_at_us: int) -> None:
        """Say in the cache what the board, read after `read_at_us`, means for each tenant."""
        for some in _parts(tenants):
            await asyncio.gather(*(self._issue(name, board, read_at_us) for name in some))

    async def revoke(self, tenants: Sequence[str], state: SwitchState | None = None) -> None:
        """End the tenants' permits now; `state` is mirrored for the tenant whose switch it is."""
        for some in _parts(tenants):
            await asyncio.gather(*(self._revoke(name, state) for name in some))

    async def mirror(self, tenant_id: str, state: SwitchState) -> None:
        """Replace the mirror by what an authorised release has just made true."""
        await self._link.call("SET", mirror_key(tenant_id), _json(state))

    async def _issue(self, tenant_id: str, board: Board, read_at_us: int) -> None:
        own = board.states.get(str(tenant_scope(tenant_id)))
        everybody = board.states.get(str(PLATFORM))
        halted = any(state is not None and state.active for state in (own, everybody))
        says = "|R|" if halted else "|G|" + "".join(f"{x}|" for x in halted_exchanges(board))
        await self._link.script(
            _ISSUE,
            (mirror_key(tenant_id), permit_key(tenant_id)),
            (read_at_us, PERMIT_US, says, _json(own), own.epoch if own else 0),
        )

    async def _revoke(self, tenant_id: str, state: SwitchState | None) -> None:
        own = state if state and state.scope == tenant_scope(tenant_id) else None
        await self._link.script(
            _REVOKE,
            (mirror_key(tenant_id), permit_key(tenant_id)),
            (PERMIT_US, _json(own), own.epoch if own else 0),
        )


def _parts(tenants: Sequence[str]) -> Iterator[Sequence[str]]:
    """So many at a time as the link may have in flight without crowding out orders."""
    return (tenants[at : at + _AT_ONCE] for at in range(0, len(tenants), _AT_ONCE))


def _json(state: SwitchState | None) -> bytes:
    """How a mirror reads; the admission script looks for `"active":false` in it, so no text that a
    person wrote may be in it.
    """
    if state is None:
        return b""
    changed_at = state.changed_at
    return msgspec.json.encode(
        {"active": state.active, "epoch": state.epoch, "changedAt": changed_at}
    )
