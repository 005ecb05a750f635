"""Help and refusals: whatever is typed, one sentence and a documented exit code."""

import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from tests.processes import run
from trading_platform.cli import orders, tenants
from trading_platform.cli.commands import app
from trading_platform.market.instruments import ExchangeId
from trading_platform.market.orders import Side
from trading_platform.tenants.model import Tier

HEAVY = ("aiohttp", "structlog", "starlette", "rich", "msgspec", "uvicorn", "asyncio")
SERVE = ("serve", "--exchange", "BINANCE=SANDBOX")
SUBMIT = ("order", "submit", "BINANCE", "BUY", "1")


def _commands(group: Any = None, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command that does something, found in the tree of them."""
    found: list[tuple[str, ...]] = []
    tree: Any = group or get_command(app)
    for name, command in tree.commands.items():
        if hasattr(command, "commands"):
            found += _commands(command, (*above, name))
        else:
            found.append((*above, name))
    return found


def _invoke(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, arguments, env=environment)


@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_help_of_every_command_has_an_example_of_itself(command: tuple[str, ...]) -> None:
    text = _invoke(*command, "--help").output
    assert f"Example:\n    trading-platform {' '.join(command)}" in text


def test_help_documents_the_exit_codes() -> None:
    text = " ".join(_invoke("--help").output.split())
    assert "0 done; 1 refused" in text
    assert "4 the data folder or port cannot be used; 130 interrupted" in text


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\nsys.argv = ['trading-platform', '--help']\n"
        "from trading_platform.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_choices_are_those_of_the_domain() -> None:
    assert set(get_args(orders.Exchange)) == set(ExchangeId)
    assert set(get_args(orders.Side)) == set(Side)
    assert set(get_args(tenants.Tier)) == set(Tier)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "No such command 'nonsense'"),
        (("serve",), "Missing option '--exchange'"),
        ((*SERVE, "--port", "70000"), "'--port'"),
        ((*SERVE, "--log-level", "FOO"), "'FOO' is not one of"),
        (("demo", "--speed", "nan"), "'--speed'"),
        (("simulate", "--binance-port", "-1"), "'--binance-port'"),
        (("record", "BINANCE=SANDBOX", "BTC-USDT", "--seconds", "nan"), "'--seconds'"),
        (("order", "submit", "KRAKEN", "BUY", "1", "BTC-USDT"), "'KRAKEN' is not one of"),
        (("order", "submit", "BINANCE", "BUZ", "1", "BTC-USDT"), "'BUZ' is not one of"),
        (("order", "submit", "BINANCE", "BUY", "-1", "BTC-USDT"), "-1 has a sign"),
        ((*SUBMIT, "BTC-USDT", "--price", "-5"), "-5 has a sign"),
        ((*SUBMIT, "BTC-USDT", "--time-in-force", "X"), "'X' is not one of"),
        (("order", "cancel", ""), "ORDER_ID is empty"),
        (("order", "list", "--limit", "0"), "'--limit'"),
        (("kill-switch", "activate"), "Missing option '--reason'"),
        (("tenant", "create", "x", "--tier", "GOLD"), "'GOLD' is not one of"),
    ],
)
def test_wrong_usage_says_what_is_wrong_and_exits_2(arguments: tuple[str, ...], says: str) -> None:
    result = _invoke(*arguments)
    assert result.exit_code == 2
    assert says in result.output


def _refused(result: Result, says: str, code: int) -> None:
    assert result.exit_code == code, result.output
    assert says in result.output
    assert result.output.startswith("trading-platform: ")
    assert result.output.endswith("]\n")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    ["BINANCE", "K=PRODUCTION", "BINANCE=SIMULATED", "=x", "BINANCE=http://", "BINANCE=http://a/b"],
)
def test_exchange_that_is_none_is_refused_with_what_to_write(text: str, tmp_path: Path) -> None:
    result = _invoke("serve", "--exchange", text, "--data", str(tmp_path / "none"))
    _refused(result, "Write BINANCE or COINBASE, then =PRODUCTION", 1)
    assert not (tmp_path / "none").exists()


def test_exchange_named_twice_is_refused() -> None:
    result = _invoke(*SERVE, "--exchange", "binance=PRODUCTION")
    _refused(result, "named twice", 1)


@pytest.mark.parametrize("symbols", [",", "BTCUSDT", "BTC-USD,", "BTC-USD;ETH-USD"])
def test_symbols_that_are_none_are_refused(symbols: str) -> None:
    _refused(_invoke(*SERVE, "--symbols", symbols), "such as BTC-USD,ETH-USDT", 1)


@pytest.mark.parametrize(
    "content", [b"", b"two\nwords", b"\xff\xfe\x00", "ключ".encode(), b"x" * 1000]
)
def test_file_that_holds_no_key_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    _refused(_invoke("price", "--api-key-file", str(file)), f"{file} holds no API key", 1)


@pytest.mark.parametrize("name", ["absent", "."])
def test_key_file_that_cannot_be_read_is_refused(name: str, tmp_path: Path) -> None:
    result = _invoke("price", "--api-key-file", str(tmp_path / name))
    _refused(result, "cannot be read", 1)
    assert "--api-key-file" in result.output


def test_empty_key_variable_is_refused() -> None:
    _refused(_invoke("price", TRADING_PLATFORM_API_KEY=""), "TRADING_PLATFORM_API_KEY", 1)


@pytest.mark.parametrize(
    "url",
    ["nonsense", "ftp://x", "http://", "http://[::1", "http://x:99999", "http://x/y", "http://a b"],
)
def test_url_that_is_none_is_refused_with_how_one_looks(url: str) -> None:
    result = _invoke("price", "--url", url, TRADING_PLATFORM_API_KEY="tp_live_x")
    _refused(result, "--url looks like http://127.0.0.1:8080", 1)


def test_platform_that_does_not_answer_exits_3_and_says_how_to_start_one() -> None:
    result = _invoke("price", "--url", "http://127.0.0.1:1", TRADING_PLATFORM_API_KEY="tp_live_x")
    _refused(result, "trading-platform demo", 3)


def test_unknown_permission_is_refused_with_those_there_are(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    result = _invoke("api-key", "create", "nobody", "--permission", "FLY", "--data", data)
    _refused(result, "READ, TRADE, HALT", 1)


def test_simulated_exchange_on_a_busy_port_names_port_and_option(tmp_path: Path) -> None:
    ports = ("--binance-port", "45871", "--coinbase-port", "45871")
    ended = run("simulate", "--data", str(tmp_path / "data"), *ports)
    assert ended.code == 4
    assert "45871" in ended.errors
    assert "--coinbase-port" in ended.errors


def test_address_that_is_not_ours_names_the_host_option(tmp_path: Path) -> None:
    ended = run(*SERVE, "--host", "192.0.2.1", "--data", str(tmp_path / "data"))
    assert ended.code == 4
    assert "--host" in ended.errors
    assert ended.errors.count("\n") == 1
