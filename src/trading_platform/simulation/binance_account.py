"""Binance's account and wallet answers, and the empty shapes that client libraries ask for."""

from typing import Any

from trading_platform.simulation import binance_errors as errors
from trading_platform.simulation.binance_api import Call, Operation, Venue
from trading_platform.simulation.binance_filters import amount
from trading_platform.simulation.binance_security import Security
from trading_platform.simulation.model import ZERO, SimBalance


class Account:
    """Answers what an account may know of itself."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._exchange = venue.exchange

    def operations(self) -> list[Operation]:
        """The table of this file."""

        def get(
            name: str,
            path: str,
            handler: Any,
            names: str = "",
            weight: int = 1,
            security: Security = Security.READ,
        ) -> Operation:
            return Operation(
                name,
                (("GET", path),),
                handler,
                frozenset(names.split()),
                lambda _: weight,
                security,
            )

        none = Security.NONE
        return [
            get("account.status", "/api/v3/account", self.account, "omitZeroBalances", 20),
            get("account.commission", "/api/v3/account/commission", self.commission, "symbol", 20),
            get("account.rateLimits.orders", "/api/v3/rateLimit/order", self.order_limits, "", 40),
            get("sapi.apiRestrictions", "/sapi/v1/account/apiRestrictions", self.api_restrictions),
            get("sapi.account.status", "/sapi/v1/account/status", lambda _: {"data": "Normal"}),
            get("sapi.config", "/sapi/v1/capital/config/getall", self.currencies, "", 10),
            get("sapi.tradeFee", "/sapi/v1/asset/tradeFee", self.trade_fees, "symbol"),
            get(
                "sapi.system",
                "/sapi/v1/system/status",
                lambda _: {"status": 0, "msg": "normal"},
                security=none,
            ),
            get(
                "sapi.margin.pairs",
                "/sapi/v1/margin/allPairs",
                lambda _: [],
                "symbol",
                security=none,
            ),
            get(
                "sapi.margin.isolated",
                "/sapi/v1/margin/isolated/allPairs",
                lambda _: [],
                "symbol",
                security=none,
            ),
            get(
                "fapi.exchangeInfo",
                "/fapi/v1/exchangeInfo",
                lambda _: {"symbols": []},
                security=none,
            ),
            get(
                "dapi.exchangeInfo",
                "/dapi/v1/exchangeInfo",
                lambda _: {"symbols": []},
                security=none,
            ),
        ]

    def account(self, call: Call) -> Any:
        """Balances and fees. canTrade and the like are the account's abilities, not the key's."""
        omit = call.params.flag("omitZeroBalances")
        balances = self._balances(call.account_id)
        rows = [row for row in balances if not omit or row.free or row.locked]
        rate = {"maker": self._exchange.fee_maker, "taker": self._exchange.fee_taker}
        return {
            "makerCommission": int(rate["maker"] * 10_000),
            "takerCommission": int(rate["taker"] * 10_000),
            "buyerCommission": 0,
            "sellerCommission": 0,
            "commissionRates": {
                **{name: amount(value) for name, value in rate.items()},
                "buyer": amount(ZERO),
                "seller": amount(ZERO),
            },
            "canTrade": True,
            "canWithdraw": True,
            "canDeposit": True,
            "brokered": False,
            "requireSelfTradePrevention": False,
            "preventSor": False,
            "updateTime": call.params.time(self._venue.now_ns),
            "accountType": "SPOT",
            "balances": [
                {"asset": row.currency, "free": amount(row.free), "locked": amount(row.locked)}
                for row in rows
            ],
            "permissions": ["SPOT"],
            "uid": int(call.account_id),
        }

    def commission(self, call: Call) -> Any:
        """The rates of one symbol."""
        instrument = self._venue.instrument(call.params.symbol())
        none = dict.fromkeys(("maker", "taker", "buyer", "seller"), amount(ZERO))
        return {
            "symbol": instrument.exchange_symbol,
            "standardCommission": {
                **none,
                "maker": amount(self._exchange.fee_maker),
                "taker": amount(self._exchange.fee_taker),
            },
            "specialCommission": none,
            "taxCommission": none,
            "discount": {
                "enabledForAccount": False,
                "enabledForSymbol": False,
                "discountAsset": "BNB",
                "discount": amount(ZERO),
            },
        }

    def order_limits(self, call: Call) -> Any:
        """Unfilled counts."""
        return self._venue.budgets.order_rows(call.account_id, self._venue.now_s)

    def api_restrictions(self, call: Call) -> Any:
        """What the key may do (wallet "Get API Key Permission")."""
        key = call.key
        if key is None:
            raise errors.bad_key_format()
        withdraw = "WITHDRAW" in key.permissions
        transfer = withdraw or "TRANSFER" in key.permissions
        return {
            "ipRestrict": key.ip_restricted,
            "createTime": key.created_ms,
            "enableReading": "READ" in key.permissions,
            "enableWithdrawals": withdraw,
            "enableInternalTransfer": transfer,
            "enableMargin": False,
            "enableFutures": False,
            "permitsUniversalTransfer": transfer,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enableSpotAndMarginTrading": "TRADE" in key.permissions,
            "enablePortfolioMarginTrading": False,
        }

    def currencies(self, call: Call) -> Any:
        """One row a coin; nothing can be deposited or withdrawn here."""
        return [
            {
                "coin": row.currency,
                "name": row.currency,
                "depositAllEnable": False,
                "withdrawAllEnable": False,
                "free": amount(row.free),
                "locked": amount(row.locked),
                "freeze": "0",
                "withdrawing": "0",
                "ipoing": "0",
                "ipoable": "0",
                "storage": "0",
                "isLegalMoney": False,
                "trading": True,
                "networkList": [],
            }
            for row in self._balances(call.account_id)
        ]

    def trade_fees(self, call: Call) -> Any:
        """The same rates for all."""
        wanted = call.params.text_or("symbol", "")
        return [
            {
                "symbol": instrument.exchange_symbol,
                "makerCommission": str(self._exchange.fee_maker),
                "takerCommission": str(self._exchange.fee_taker),
            }
            for instrument in self._exchange.instruments.values()
            if wanted in ("", instrument.exchange_symbol)
        ]

    def _balances(self, account_id: str) -> list[SimBalance]:
        """Every listed currency, zeros included, then what else the account holds."""
        listed = {
            currency: None
            for instrument in self._exchange.instruments.values()
            for currency in (instrument.base, instrument.quote)
        }
        held = {row.currency: None for row in self._exchange.balances(account_id)}
        return [self._exchange.ledger.balance(account_id, name) for name in listed | held]
