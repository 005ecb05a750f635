"""Asks an exchange what a key may do; nothing it sends can change anything there.

1. All probes of a key together end within PROBE_S, whatever the exchange does.
2. A probe is asked again once, when the exchange refused our clock alone.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol
from uuid import uuid4

from trading_platform.exchanges.binance_rights import BinanceRights
from trading_platform.exchanges.client import Lost, NotSent, RestClient
from trading_platform.exchanges.coinbase_rights import CoinbaseRights
from trading_platform.exchanges.dialect import HttpRequest, HttpResponse
from trading_platform.exchanges.probes import RightsDialect
from trading_platform.exchanges.rights import KeyRights, rights_of
from trading_platform.exchanges.signer import Signer, in_process_signer
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId, ExchangeMode
from trading_platform.secrets.model import ExchangeCredentials

PROBE_S = 15.0
DIALECTS: Mapping[ExchangeId, RightsDialect] = {
    ExchangeId.BINANCE: BinanceRights(),
    ExchangeId.COINBASE: CoinbaseRights(),
}


class Clients(Protocol):
    """Where exchanges are called."""

    def client(self, exchange_id: ExchangeId) -> RestClient: ...


class Prober:
    """One deployment's way to ask. `timeout_s` bounds all questions about one key."""

    def __init__(
        self,
        clients: Clients,
        modes: Mapping[ExchangeId, ExchangeMode],
        *,
        timeout_s: float = PROBE_S,
        new_uuid: Callable[[], object] = uuid4,
    ) -> None:
        self._clients = clients
        self._modes = modes
        self._timeout_s = timeout_s
        self._new_uuid = new_uuid

    def mode(self, exchange_id: ExchangeId) -> ExchangeMode:
        """The environment keys of this exchange are for; NOT_FOUND where it is not set up."""
        mode = self._modes.get(exchange_id)
        if mode is None:
            raise ServiceError(f"{exchange_id} is not set up here.", "NOT_FOUND")
        return mode

    async def probe(self, exchange_id: ExchangeId, credentials: ExchangeCredentials) -> KeyRights:
        """What the key may do, by the exchange's own answers.

        Raises CREDENTIAL_REFUSED when the exchange does not take the key, and EXCHANGE_UNAVAILABLE
        or RATE_LIMIT_EXCEEDED when nobody can say.
        """
        mode = self.mode(exchange_id)
        client, dialect = self._clients.client(exchange_id), DIALECTS[exchange_id]
        signer = in_process_signer(exchange_id, client.base_url, credentials)
        try:
            async with asyncio.timeout(self._timeout_s):
                told = []
                for probe in dialect.probes(mode, str(self._new_uuid())):
                    answer = await _ask(client, signer, dialect, probe.request, exchange_id)
                    told.append(probe.read(answer))
        except TimeoutError as error:
            raise ServiceError(
                f"{exchange_id} did not answer all questions about the key within "
                f"{self._timeout_s:g} s.",
                "EXCHANGE_UNAVAILABLE",
            ) from error
        return rights_of(told)


async def _ask(
    client: RestClient,
    signer: Signer,
    dialect: RightsDialect,
    request: HttpRequest,
    exchange_id: ExchangeId,
) -> HttpResponse:
    answer = await _once(client, signer, request, exchange_id, fresh=False)
    if dialect.is_clock_refusal(answer):
        answer = await _once(client, signer, request, exchange_id, fresh=True)
    return answer


async def _once(
    client: RestClient,
    signer: Signer,
    request: HttpRequest,
    exchange_id: ExchangeId,
    *,
    fresh: bool,
) -> HttpResponse:
    time_ms = await client.server_time_ms(fresh=fresh)
    if isinstance(time_ms, NotSent):
        raise time_ms.as_error()
    answer = await client.send(signer.sign(request, time_ms))
    if isinstance(answer, NotSent):
        raise answer.as_error()
    if isinstance(answer, Lost):
        raise ServiceError(f"{exchange_id}: {answer.reason}.", "EXCHANGE_UNAVAILABLE")
    return answer
