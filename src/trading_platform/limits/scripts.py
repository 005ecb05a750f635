"""What the cache server decides in one step. Times are the server's own, in microseconds.

`settle` in Lua is window.spend in Python; tests/properties/test_window.py holds them together.
"""

from trading_platform.cache.link import Script

PERMIT_US = 2_000_000
"""How long a permit allows orders after the moment its truth was read."""

CLOCK = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
"""

_SETTLE = """
-- A list of when units were spent, oldest first, at most `limit` long.
local function settle(key, limit, window)
  local last = redis.call('LINDEX', key, -1)
  if last and tonumber(last) - now > window then
    redis.call('DEL', key)
    last = false
  end
  if not last then return {key = key, limit = limit, count = 0, at = now, retry = 0, reset = 0} end
  local at = math.max(now, tonumber(last))
  local count = redis.call('LLEN', key)
  local function gone(index)
    return tonumber(redis.call('LINDEX', key, index)) <= at - window
  end
  if gone(0) then
    local low, high = 0, count
    while low < high do
      local middle = math.floor((low + high) / 2)
      if gone(middle) then low = middle + 1 else high = middle end
    end
    redis.call('LTRIM', key, low, -1)
    count = count - low
  end
  if count > limit then
    redis.call('LTRIM', key, -limit, -1)
    count = limit
  end
  local reset = 0
  if count > 0 then reset = tonumber(redis.call('LINDEX', key, 0)) + window - at end
  local retry = 0
  if count >= limit then retry = reset end
  return {key = key, limit = limit, count = count, at = at, retry = retry, reset = reset}
end

local function take(log, window)
  redis.call('RPUSH', log.key, string.format('%.0f', log.at))
  redis.call('PEXPIRE', log.key, window / 1000 + 1)
  log.count = log.count + 1
  if log.count == 1 then log.reset = window end
end
"""

_ADMIT = f"""
local window, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local requests = settle(KEYS[1], tonumber(ARGV[3]), window)
local orders = {{limit = 0, count = 0, retry = 0, reset = 0}}
local verdict = 0
if KEYS[2] then
  orders = settle(KEYS[2], tonumber(ARGV[4]), window)
  local mirror = redis.call('GET', KEYS[3])
  local permit = redis.call('GET', KEYS[4])
  local read_at, but = string.match(permit or '', '^(%d+)|G(|.*)$')
  local age = read_at and now - tonumber(read_at)
  if mirror and not string.find(mirror, '"active":false', 1, true) then
    verdict = 3
  elseif not age or age < 0 or age >= {PERMIT_US} then
    verdict = 4
  elseif string.find(but, '|' .. ARGV[5] .. '|', 1, true) then
    verdict = 5
  end
end
local retry = 0
if verdict == 0 and requests.retry > 0 then verdict, retry = 1, requests.retry end
if verdict < 2 and orders.retry > retry then verdict, retry = 2, orders.retry end
if verdict == 0 and cost > 0 then
  take(requests, window)
  if KEYS[2] then take(orders, window) end
end
return {{verdict, retry, requests.limit - requests.count, requests.reset,
        orders.limit - orders.count, orders.reset}}
"""

_QUOTA = """
local window = tonumber(ARGV[1])
local requests = settle(KEYS[1], tonumber(ARGV[2]), window)
local orders = settle(KEYS[2], tonumber(ARGV[3]), window)
local open = redis.call('ZCOUNT', KEYS[3], string.format('(%.0f', now), '+inf')
return {requests.limit - requests.count, requests.reset,
        orders.limit - orders.count, orders.reset, open}
"""

_LEASE = """
local life = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
local fits = redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[2])
local granted = fits or ARGV[4] == 'renew'
if granted then
  redis.call('ZADD', KEYS[1], string.format('%.0f', now + life), ARGV[1])
  redis.call('PEXPIRE', KEYS[1], life / 1000 + 1)
end
return {granted and 1 or 0, redis.call('ZCARD', KEYS[1])}
"""


def admit_source(clock: str = CLOCK) -> str:
    """The admission script; tests put a time of their own for the server's."""
    return clock + _SETTLE + _ADMIT


ADMIT = Script.of(admit_source())
"""Keys: requests[, orders, mirror, permit]. Arguments: window us, 1 to spend or 0 to look, request
limit[, order limit, exchange]. All or nothing: a refusal spends neither a request nor an order.
Gives verdict (0 admitted, 1 too many requests, 2 too many orders, 3 halted by the mirror, 4 no
permit, 5 permit excepts the exchange), retry us, requests left, their reset us, orders left, their
reset us.
"""

QUOTA = Script.of(CLOCK + _SETTLE + _QUOTA)
"""Keys: requests, orders, connections. Arguments: window us, request limit, order limit."""

LEASE = Script.of(CLOCK + _LEASE)
"""Keys: connections. Arguments: lease, limit, life us, 'new' or 'renew'. Gives granted, open."""
