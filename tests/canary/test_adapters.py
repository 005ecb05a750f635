"""Keys at exchanges that break off, hang, talk nonsense, or repeat what they were sent."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from aiohttp import web

from tests.builders import an_instrument, an_order
from tests.canary.haystack import leaks
from tests.canary.locals_seen import locals_seen
from tests.canary.test_no_secret_leaks import a_pem
from trading_platform.exchanges.endpoints import simulated
from trading_platform.exchanges.factory import ExchangeFactory
from trading_platform.exchanges.ports import Trading
from trading_platform.kit.clock import SystemClock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.observability.logs import adopt_library_logs, create_log
from trading_platform.secrets.model import ExchangeCredentials, Secret

PASSPHRASE = "passphrase-of-canary-7781"
HMAC_SECRET = "Y2FuYXJ5IGNhbmFyeSBjYW5hcnkgY2FuYXJ5IGNhbmFyeSBjYW5hcnkgY2FuYXJ5IDEyMzQ="
PEM = a_pem()
BROKEN_PEM = (
    "-----BEGIN PRIVATE KEY-----\nTm90QUtleUNhbmFyeUNhbmFyeQ==\n-----END PRIVATE KEY-----\n"
)
MANNERS = ["breaks off", "hangs", "nonsense", "5xx", "repeats", "refuses the key"]


class IllMannered:
    """An exchange whose manners the test chooses; only its clock is right."""

    def __init__(self, manner: str) -> None:
        self.manner = manner
        self.asked = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/time"):
            now = time.time()
            return web.json_response({"serverTime": int(now * 1000), "epoch": now})
        self.asked += 1
        text = (await request.read()).decode()
        if self.manner == "breaks off":
            assert request.transport is not None
            request.transport.abort()
        if self.manner == "hangs":
            await asyncio.sleep(30)
        if self.manner == "nonsense":
            return web.Response(text="<html>" + "?" * 100, content_type="text/html")
        if self.manner == "5xx":
            return web.json_response({"code": -1000, "msg": "oh", "message": "oh"}, status=503)
        said = "invalid key"
        if self.manner == "repeats":
            said = json.dumps(
                {"url": str(request.url), "headers": dict(request.headers), "b": text}
            )
        return web.json_response({"code": -2015, "msg": said, "message": said}, status=401)


@asynccontextmanager
async def serving(manner: str) -> AsyncIterator[tuple[str, IllMannered]]:
    exchange, app = IllMannered(manner), web.Application()
    app.router.add_route("*", "/{path:.*}", exchange.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}", exchange
    await runner.cleanup()


class OneKey:
    def __init__(self, secret: str) -> None:
        self.secret = secret

    async def get_exchange_credentials(
        self, tenant_id: str, exchange_id: ExchangeId
    ) -> ExchangeCredentials:
        return ExchangeCredentials(
            api_key="the-name-of-the-key",
            api_secret=Secret(self.secret),
            passphrase=Secret(PASSPHRASE) if exchange_id is ExchangeId.COINBASE else None,
        )


async def use(trading: Trading, exchange_id: ExchangeId) -> list[str]:
    """Everything that can be asked of an account, and what came of it."""
    symbol = "BTCUSDT" if exchange_id is ExchangeId.BINANCE else "BTC-USDT"
    instrument = an_instrument(exchange_id=exchange_id, exchange_symbol=symbol)
    order = an_order(exchange_id=exchange_id)
    since = datetime.now(UTC) - timedelta(hours=1)
    said = []
    for ask in (
        lambda: trading.place(order, instrument),
        lambda: trading.cancel(order, instrument),
        lambda: trading.look_up(order, instrument),
        trading.balances,
        trading.open_orders,
        lambda: trading.fills(order, instrument),
        lambda: trading.recent_orders(instrument, since),
    ):
        try:
            async with asyncio.timeout(0.2):
                said.append(repr(await ask()))
        except (ServiceError, TimeoutError) as error:
            said.append(f"{error!r} {error} {getattr(error, 'metadata', '')}")
    return said


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize(
    ("exchange_id", "secret"),
    [
        (ExchangeId.BINANCE, HMAC_SECRET),
        (ExchangeId.BINANCE, PEM),
        (ExchangeId.BINANCE, BROKEN_PEM),
        (ExchangeId.COINBASE, HMAC_SECRET),
        (ExchangeId.COINBASE, "no base64: canary canary canary!"),
    ],
    ids=["hmac", "pem", "broken pem", "coinbase", "no base64"],
)
async def test_an_account_at_an_ill_mannered_exchange_shows_no_key(
    exchange_id: ExchangeId, secret: str, manner: str, capfd: pytest.CaptureFixture[str]
) -> None:
    log_text = StringIO()
    log = create_log("canary", stream=log_text, level="DEBUG")
    adopt_library_logs(log, level="DEBUG")
    said: list[str] = []
    with locals_seen() as seen:
        async with serving(manner) as (url, exchange):
            endpoints = {exchange_id: simulated(exchange_id, url)}
            factory = ExchangeFactory(endpoints, OneKey(secret), SystemClock(), log)
            await factory.start()
            try:
                said = await use(await factory.trading("tenant-1", exchange_id), exchange_id)
            except ServiceError as error:
                said = [f"{error!r} {error.metadata}"]
            finally:
                await factory.close()
    printed = capfd.readouterr()
    assert said
    assert exchange.asked or secret not in {HMAC_SECRET, PEM}, "nothing reached the exchange"
    hay = {
        "what was answered": "\n".join(said).encode(),
        "log": log_text.getvalue().encode(),
        "stdout": (printed.out + printed.err).encode(),
        **seen.hay(),
    }
    secrets = {"the secret": secret.split("\n")[1] if "\n" in secret else secret}
    secrets["the passphrase"] = PASSPHRASE
    found = leaks(hay, secrets)
    assert not found, "\n".join(found)
