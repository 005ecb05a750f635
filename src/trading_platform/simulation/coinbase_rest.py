"""The calls of the simulated Coinbase Exchange's REST interface. No I/O: a call in, an answer out.

One table of routes says what each call needs; coinbase_server.py carries it out.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum

import msgspec

from trading_platform.simulation import coinbase_answers as answers
from trading_platform.simulation.coinbase_checks import check_order, read_order
from trading_platform.simulation.coinbase_orders import AnyOrder, OrderDesk, Received
from trading_platform.simulation.coinbase_security import ApiError, Permission
from trading_platform.simulation.coinbase_text import parse_time_ns, time_text
from trading_platform.simulation.exchange import SimulatedExchange
from trading_platform.simulation.gate import Answer
from trading_platform.simulation.model import SimKey, SimulatedInstrument

GRANULARITIES_S = (60, 300, 900, 3600, 21_600, 86_400)
_SECONDS = re.compile("[0-9]{1,12}")
OPEN_STATUSES = frozenset({"open", "pending", "active"})


class Bucket(StrEnum):
    """Which budget a call is taken from."""

    PUBLIC = "PUBLIC"
    PRIVATE = "PRIVATE"
    FILLS = "FILLS"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may be carried out. `key` is set for signed calls."""

    path: Mapping[str, str] = {}
    query: Mapping[str, Sequence[str]] = {}
    body: bytes = b""
    key: SimKey | None = None

    @property
    def account_id(self) -> str:
        """The account that signed."""
        if self.key is None:
            raise ApiError(401, "CB-ACCESS-KEY header is required")
        return self.key.account_id

    def first(self, name: str, otherwise: str = "") -> str:
        """The first value of a query parameter."""
        values = self.query.get(name)
        return values[0] if values else otherwise

    def firsts(self) -> dict[str, str]:
        """The first value of every query parameter."""
        return {name: values[0] for name, values in self.query.items() if values}


class Route(msgspec.Struct, frozen=True):
    """One call: where, what it needs, from which budget, and what does it."""

    method: str
    path: str
    permission: Permission | None
    bucket: Bucket
    run: Callable[[Call], Answer]

    @property
    def name(self) -> str:
        """What faults are armed for: `POST /orders`."""
        return f"{self.method} {self.path}"


def _ok(body: object, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status=200, body=body, headers=headers or {})


class CoinbaseRest:
    """All calls on one exchange."""

    def __init__(
        self, exchange: SimulatedExchange, desk: OrderDesk, sequence: Callable[[str], int]
    ) -> None:
        self._exchange = exchange
        self._desk = desk
        self._sequence = sequence

    def routes(self) -> list[Route]:
        """The table of calls."""
        public, private, fills = Bucket.PUBLIC, Bucket.PRIVATE, Bucket.FILLS
        view, trade, transfer = Permission.VIEW, Permission.TRADE, Permission.TRANSFER
        return [
            Route("GET", "/time", None, public, self.time),
            Route("GET", "/currencies", None, public, self.currencies),
            Route("GET", "/currencies/{id}", None, public, self.currency),
            Route("GET", "/products", None, public, self.products),
            Route("GET", "/products/{id}", None, public, self.product),
            Route("GET", "/products/{id}/book", None, public, self.book),
            Route("GET", "/products/{id}/trades", None, public, self.trades),
            Route("GET", "/products/{id}/candles", None, public, self.candles),
            Route("GET", "/products/{id}/ticker", None, public, self.ticker),
            Route("GET", "/products/{id}/stats", None, public, self.stats),
            Route("GET", "/accounts", view, private, self.accounts),
            Route("GET", "/accounts/{id}", view, private, self.account),
            Route("GET", "/profiles", view, private, self.profiles),
            Route("GET", "/fees", view, private, self.fees),
            Route("GET", "/users/self/verify", view, private, self.verify),
            Route("GET", "/orders", view, private, self.orders),
            Route("GET", "/orders/{id}", view, private, self.order),
            Route("POST", "/orders", trade, private, self.place),
            Route("DELETE", "/orders", trade, private, self.cancel_all),
            Route("DELETE", "/orders/{id}", trade, private, self.cancel),
            Route("GET", "/fills", view, fills, self.fills),
            Route("POST", "/withdrawals/crypto", transfer, private, self.withdraw),
            Route("POST", "/withdrawals/coinbase-account", transfer, private, self.withdraw),
            Route("POST", "/withdrawals/payment-method", transfer, private, self.withdraw),
        ]

    # -- public

    def time(self, call: Call) -> Answer:
        """Both forms of now."""
        now_ns = self._exchange.clock.time_ns()
        iso = time_text(now_ns)[:-4] + "Z"
        return _ok({"iso": iso, "epoch": now_ns // 1_000_000 / 1000})

    def currencies(self, call: Call) -> Answer:
        """All currencies."""
        return _ok([answers.currency(name) for name in self._currencies()])

    def currency(self, call: Call) -> Answer:
        """One currency."""
        if call.path["id"] not in self._currencies():
            raise ApiError(404, "NotFound")
        return _ok(answers.currency(call.path["id"]))

    def products(self, call: Call) -> Answer:
        """All products."""
        return _ok([self._product(found) for found in self._exchange.instruments.values()])

    def product(self, call: Call) -> Answer:
        """One product."""
        return _ok(self._product(self._instrument(call)))

    def book(self, call: Call) -> Answer:
        """Level 1, 2 or 3."""
        symbol, level = self._instrument(call).symbol, call.first("level", "1")
        if level not in ("1", "2", "3"):
            raise ApiError(400, "Invalid level")
        now_ns = self._exchange.clock.time_ns()
        found = self._exchange.book(symbol)
        return _ok(answers.book(found, int(level), self._sequence(symbol), now_ns))

    def trades(self, call: Call) -> Answer:
        """Newest first."""
        tape = self._exchange.tape(self._instrument(call).symbol)
        rows = [(str(t.trade_id), answers.trade(t)) for t in reversed(tape.trades)]
        return _ok(*answers.page(rows, call.firsts()))

    def candles(self, call: Call) -> Answer:
        """Newest first, at most 300; minutes without trades are missing."""
        granularity = call.first("granularity", "60")
        if granularity not in map(str, GRANULARITIES_S):
            raise ApiError(400, "Unsupported granularity")
        step_ms = int(granularity) * 1000
        end_ms = _time_ms(call.first("end"), self._exchange.clock.time_ns() // 1_000_000)
        start_ms = _time_ms(call.first("start"), end_ms - answers.CANDLES_MAX * step_ms)
        if (end_ms - start_ms) // step_ms > answers.CANDLES_MAX:
            raise ApiError(
                400,
                "granularity too small for the requested time range. "
                f"Count of aggregations requested exceeds {answers.CANDLES_MAX}",
            )
        tape = self._exchange.tape(self._instrument(call).symbol)
        found = tape.candles(step_ms, start_ms, end_ms)
        return _ok([answers.candle(one) for one in reversed(found)])

    def ticker(self, call: Call) -> Answer:
        """Last trade, best quotes."""
        symbol = self._instrument(call).symbol
        book, tape = self._exchange.book(symbol), self._exchange.tape(symbol)
        return _ok(answers.ticker(book, tape, self._exchange.clock.time_ns() // 1_000_000))

    def stats(self, call: Call) -> Answer:
        """The day."""
        tape = self._exchange.tape(self._instrument(call).symbol)
        return _ok(answers.stats(tape, self._exchange.clock.time_ns() // 1_000_000))

    # -- signed

    def accounts(self, call: Call) -> Answer:
        """One row a currency, held or not."""
        return _ok(self._accounts(call.account_id))

    def account(self, call: Call) -> Answer:
        """One row."""
        for row in self._accounts(call.account_id):
            if row["id"] == call.path["id"]:
                return _ok(row)
        raise ApiError(404, "NotFound")

    def profiles(self, call: Call) -> Answer:
        """The key's only profile."""
        return _ok(
            [
                {
                    "id": answers.profile_id(call.account_id),
                    "user_id": answers.user_id(call.account_id),
                    "name": "default",
                    "active": True,
                    "is_default": True,
                    "has_margin": False,
                    "created_at": "2026-01-01T00:00:00.000000Z",
                }
            ]
        )

    def fees(self, call: Call) -> Answer:
        """The rates that apply."""
        return _ok(
            {
                "taker_fee_rate": str(self._exchange.fee_taker),
                "maker_fee_rate": str(self._exchange.fee_maker),
                "usd_volume": "0.00",
            }
        )

    def verify(self, call: Call) -> Answer:
        """Who signed."""
        return _ok({"id": answers.user_id(call.account_id)})

    def place(self, call: Call) -> Answer:
        """Receive an order; the engine sees it a moment later."""
        body = read_order(call.body)
        instrument = self._exchange.by_exchange_symbol.get(body.product_id)
        checked = check_order(body, instrument, self._exchange.fee_taker)
        if body.profile_id not in (None, answers.profile_id(call.account_id)):
            raise ApiError(403, "Forbidden")
        return _ok(answers.pending(self._desk.place(call.account_id, checked), first=True))

    def order(self, call: Call) -> Answer:
        """By id or client:<client_oid>."""
        found = self._desk.find(call.account_id, call.path["id"])
        return _ok(self._order(found))

    def orders(self, call: Call) -> Answer:
        """Open, pending and active ones unless `status` says otherwise; newest first."""
        wanted = {*call.query.get("status", ()), *call.query.get("status[]", ())} or OPEN_STATUSES
        symbol = self._symbol(call)
        rows = [
            (answers.created_at(found), self._order(found))
            for found in self._desk.orders(call.account_id, symbol)
            if "all" in wanted or answers.status(found) in wanted
        ]
        start, end = call.first("start_date"), call.first("end_date", "9")
        rows = [row for row in rows if _day_text(start) <= row[0] <= _day_text(end)]
        rows.sort(key=lambda row: row[0], reverse=True)
        shown, headers = answers.page(rows, call.firsts())
        return _ok(shown[::-1] if call.first("sorting") == "asc" else shown, headers)

    def cancel(self, call: Call) -> Answer:
        """The id, as a bare JSON string. A body, if any, is ignored."""
        return _ok(self._desk.cancel(call.account_id, call.path["id"]))

    def cancel_all(self, call: Call) -> Answer:
        """The ids of all that were open, of one product or all."""
        product_id = call.first("product_id")
        if product_id and product_id not in self._exchange.by_exchange_symbol:
            raise ApiError(404, "ProductNotFound")
        return _ok(self._desk.cancel_all(call.account_id, self._symbol(call)))

    def fills(self, call: Call) -> Answer:
        """Of one order or one product; newest first."""
        account_id, reference = call.account_id, call.first("order_id")
        symbol = self._symbol(call)
        if not reference and not call.first("product_id"):
            raise ApiError(400, "Either order_id or product_id is required")
        core_id = None
        if reference:
            core_id = self._desk.core_id(account_id, reference)
            if core_id is None:
                return _ok([])
        rows = []
        for trade in reversed(self._exchange.trades(account_id, symbol)):
            owner = self._exchange.order(account_id, trade.order_id)
            if owner is not None and core_id in (None, trade.order_id):
                instrument = self._exchange.instruments[trade.symbol]
                rows.append((str(trade.trade_id), answers.fill(trade, owner, instrument)))
        return _ok(*answers.page(rows, call.firsts()))

    def withdraw(self, call: Call) -> Answer:
        """Whoever gets here may transfer; nothing is ever sent."""
        raise ApiError(400, "amount is required")

    # -- inside

    def _currencies(self) -> list[str]:
        return answers.currencies(self._exchange.instruments.values())

    def _product(self, found: SimulatedInstrument) -> answers.Json:
        return answers.product(found, trading=self._exchange.is_trading(found.symbol))

    def _instrument(self, call: Call) -> SimulatedInstrument:
        found = self._exchange.by_exchange_symbol.get(call.path["id"])
        if found is None:
            raise ApiError(404, "NotFound")
        return found

    def _symbol(self, call: Call) -> str | None:
        product_id = call.first("product_id")
        found = self._exchange.by_exchange_symbol.get(product_id)
        return found.symbol if found is not None else product_id or None

    def _accounts(self, account_id: str) -> list[answers.Json]:
        return [
            answers.account(account_id, self._exchange.ledger.balance(account_id, name))
            for name in self._currencies()
        ]

    def _order(self, found: AnyOrder) -> answers.Json:
        symbol = found.request.symbol if isinstance(found, Received) else found.order.symbol
        return answers.order(found, self._exchange.instruments[symbol], self._exchange.fee_taker)


def _time_ms(text: str, otherwise: int) -> int:
    """An RFC 3339 time or Unix seconds."""
    if not text:
        return otherwise
    try:
        seconds = _SECONDS.fullmatch(text)
        return int(text) * 1000 if seconds else parse_time_ns(text) // 1_000_000
    except ValueError:
        raise ApiError(400, "Invalid time") from None


def _day_text(text: str) -> str:
    """A bound that compares with created_at texts; 9 stands for the end of time."""
    if not text or text == "9":
        return text
    try:
        return time_text(parse_time_ns(text))
    except ValueError:
        raise ApiError(400, "Invalid date") from None
