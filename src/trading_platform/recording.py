"""Wiring for the recorder: an exchange as an operator names it, to files of its market data."""

from collections.abc import Sequence
from pathlib import Path

from trading_platform.accounts import NoCredentials
from trading_platform.app import endpoints_of
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.observability.logs import create_log
from trading_platform.settings import ExchangeSetting
from trading_platform.simulation.record import RecordingSummary, record


async def record_market(
    exchange_id: ExchangeId,
    setting: ExchangeSetting,
    symbols: Sequence[str],
    folder: Path,
    duration_s: float,
) -> RecordingSummary:
    """Record these symbols for `duration_s`; INVALID_REQUEST when the exchange lists one not."""
    exchanges, clock = {exchange_id: setting}, SystemClock()
    endpoints = endpoints_of(exchanges)
    factory = ExchangeFactory(endpoints, NoCredentials(), clock, create_log("recorder"))
    await factory.start()
    try:
        instruments = await factory.instruments(exchange_id)
    finally:
        await factory.close()
    unknown = [symbol for symbol in symbols if symbol not in instruments]
    if unknown:
        raise ServiceError(f"{exchange_id} does not list {', '.join(unknown)}.", "INVALID_REQUEST")
    url = endpoints[exchange_id].market_ws
    if exchange_id is ExchangeId.BINANCE:
        url = url.removesuffix("/ws") + "/stream"  # combined: each frame names its stream
    names = [instruments[symbol].exchange_symbol for symbol in symbols]
    return await record(
        exchange_id,
        url,
        names,
        folder,
        duration_s=duration_s,
        clock=clock,
    )
