from trading_platform.prices.routes import Route, routes

ALL = ["BTC-USD", "BTC-USDT", "BTC-EUR", "ETH-USDT", "USDT-USD"]


def test_other_dollar_is_converted_and_other_currencies_are_absent() -> None:
    assert routes("BTC-USD", ALL) == [Route("BTC-USD"), Route("BTC-USDT", "USDT-USD")]
    assert routes("BTC-USDT", ALL) == [Route("BTC-USD", "USDT-USD", True), Route("BTC-USDT")]
    assert routes("BTC-EUR", ALL) == [Route("BTC-EUR")]


def test_rate_is_made_only_of_sources_in_its_own_currency() -> None:
    assert routes("USDT-USD", ["USDT-USD", "USDT-USDC"], ("USDT-USD", "USDC-USD")) == [
        Route("USDT-USD")
    ]
