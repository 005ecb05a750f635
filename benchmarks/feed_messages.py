"""Seeded market data in the wire forms of the exchanges, framed for a WebSocket. Standard library
only: the peers' environment reads it too.

Each client gets the same events in the form that its own subscription brings: raw Binance streams
and Coinbase Exchange for us, combined Binance streams with aggTrade and Coinbase Advanced Trade for
cryptofeed 3. One event a frame everywhere.
"""

import time
from collections.abc import Iterator
from random import Random

SYMBOLS = 50
QUOTES_A_TRADE = 3
BASES = tuple(f"C{index:02d}" for index in range(SYMBOLS))
FORMS = ("binance", "binance-combined", "coinbase", "coinbase-advanced")

Event = tuple[bool, int, float, float, float, float, int, int, bool]
"""(is a trade, symbol's index, bid or price, ask, two quantities, id, milliseconds, taker buys)."""


def events(count: int, seed: int, start_ms: int) -> Iterator[Event]:
    """`count` events over 50 symbols: quotes and trades of a random walk, ids without holes."""
    random = Random(seed)
    mids = [random.uniform(0.5, 60_000) for _ in BASES]
    trade_ids = [random.randrange(10**6, 10**9) for _ in BASES]
    for index in range(count):
        symbol = random.randrange(SYMBOLS)
        mid = mids[symbol] = mids[symbol] * (1 + (random.random() - 0.5) * 1e-5)
        at_ms = start_ms + index // 500
        quantity, other = random.random() * 10, random.random() * 10
        if random.random() * (QUOTES_A_TRADE + 1) < 1:
            trade_ids[symbol] += 1
            taker_buys = random.random() < 0.5
            yield True, symbol, mid, 0.0, quantity, other, trade_ids[symbol], at_ms, taker_buys
        else:
            bid, ask = mid * 0.99999, mid * 1.00001
            yield False, symbol, bid, ask, quantity, other, 10**10 + index, at_ms, True


def binance(event: Event) -> str:
    """`<symbol>@trade` and `<symbol>@bookTicker`, as a raw stream sends them."""
    trade, symbol, first, ask, quantity, other, number, at_ms, taker_buys = event
    name = f"{BASES[symbol]}USDT"
    if trade:
        maker = "false" if taker_buys else "true"
        return (
            f'{{"e":"trade","E":{at_ms},"s":"{name}","t":{number},"p":"{first:.8f}",'
            f'"q":"{quantity:.8f}","T":{at_ms},"m":{maker},"M":true}}'
        )
    return (
        f'{{"u":{number},"s":"{name}","b":"{first:.8f}","B":"{quantity:.8f}",'
        f'"a":"{ask:.8f}","A":"{other:.8f}"}}'
    )


def binance_combined(event: Event) -> str:
    """The same on a combined stream, with aggTrade for trade."""
    trade, symbol, price, _, quantity, _, number, at_ms, taker_buys = event
    name = f"{BASES[symbol]}USDT"
    if not trade:
        return f'{{"stream":"{name.lower()}@bookTicker","data":{binance(event)}}}'
    maker = "false" if taker_buys else "true"
    return (
        f'{{"stream":"{name.lower()}@aggTrade","data":{{"e":"aggTrade","E":{at_ms},"s":"{name}",'
        f'"a":{number},"p":"{price:.8f}","q":"{quantity:.8f}","f":{number},"l":{number},'
        f'"T":{at_ms},"m":{maker},"M":true}}}}'
    )


def coinbase(event: Event) -> str:
    """`match` and `ticker` of the Coinbase Exchange feed."""
    trade, symbol, first, ask, quantity, other, number, at_ms, taker_buys = event
    product, at = f"{BASES[symbol]}-USD", _iso(at_ms)
    if trade:
        return (
            f'{{"type":"match","trade_id":{number},'
            '"maker_order_id":"0c9a1a64-1f7f-4b33-a6a1-2f9e6f2f8c5d",'
            '"taker_order_id":"5c8b6b2e-7f7e-4f39-8f4e-9f2f1c7e0a11",'
            f'"side":"{"sell" if taker_buys else "buy"}","size":"{quantity:.8f}",'
            f'"price":"{first:.2f}","product_id":"{product}","sequence":{number * 7},'
            f'"time":"{at}"}}'
        )
    return (
        f'{{"type":"ticker","sequence":{number},"product_id":"{product}","price":"{first:.2f}",'
        f'"open_24h":"{first:.2f}","volume_24h":"2860.31872502","low_24h":"{first:.2f}",'
        f'"high_24h":"{ask:.2f}","volume_30d":"117000.12345678","best_bid":"{first:.8f}",'
        f'"best_bid_size":"{quantity:.8f}","best_ask":"{ask:.8f}","best_ask_size":"{other:.8f}",'
        f'"side":"buy","time":"{at}","trade_id":{number},"last_size":"{other:.8f}"}}'
    )


def coinbase_advanced(event: Event, sequence: int) -> str:
    """`market_trades` and `ticker` of Coinbase Advanced Trade."""
    trade, symbol, first, ask, quantity, other, number, at_ms, taker_buys = event
    product, at = f"{BASES[symbol]}-USD", _iso(at_ms)
    head = f'"client_id":"","timestamp":"{at}","sequence_num":{sequence}'
    if trade:
        return (
            f'{{"channel":"market_trades",{head},"events":[{{"type":"update","trades":[{{'
            f'"trade_id":"{number}","product_id":"{product}","price":"{first:.2f}",'
            f'"size":"{quantity:.8f}","time":"{at}",'
            f'"side":"{"SELL" if taker_buys else "BUY"}"}}]}}]}}'
        )
    return (
        f'{{"channel":"ticker",{head},"events":[{{"type":"update","tickers":[{{"type":"ticker",'
        f'"product_id":"{product}","price":"{first:.2f}","volume_24_h":"2860.31872502",'
        f'"low_24_h":"{first:.2f}","high_24_h":"{ask:.2f}","low_52_w":"{first:.2f}",'
        f'"high_52_w":"{ask:.2f}","price_percent_chg_24_h":"0.09772441285005",'
        f'"best_bid":"{first:.8f}","best_ask":"{ask:.8f}","best_bid_quantity":"{quantity:.8f}",'
        f'"best_ask_quantity":"{other:.8f}"}}]}}]}}'
    )


def stream(form: str, count: int, seed: int) -> bytes:
    """`count` events of one wire form as unmasked text frames, stamped with the present."""
    made = events(count, seed, time.time_ns() // 1_000_000)
    if form == "binance":
        texts = (binance(event) for event in made)
    elif form == "binance-combined":
        texts = (binance_combined(event) for event in made)
    elif form == "coinbase":
        texts = (coinbase(event) for event in made)
    else:
        texts = (coinbase_advanced(event, number) for number, event in enumerate(made))
    return b"".join(_frame(text.encode()) for text in texts)


def _iso(at_ms: int) -> str:
    seconds = time.gmtime(at_ms // 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", seconds) + f".{at_ms % 1000:03d}000Z"


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    head = bytes((0x81, size)) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
    return head + payload
