"""/v1/exchanges/{exchangeId}/credentials: exchange keys go in, only what names them comes out."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from trading_platform.api.fields import ReasonText, given, printable
from trading_platform.api.ports import Services
from trading_platform.api.routes import Answer, Call, Limit, Nothing, Route
from trading_platform.exchanges.credential_rows import CredentialRow, CredentialStatus, KeyFacts
from trading_platform.kit.errors import ServiceError
from trading_platform.market.instruments import ExchangeId
from trading_platform.secrets.model import DOTS, ExchangeCredentials, Secret
from trading_platform.tenants.model import Permission

KeyText = Annotated[
    str, msgspec.Meta(min_length=1, max_length=4096, description="text of 1 to 4096 characters")
]
NameText = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        max_length=64,
        description="1 to 64 letters, digits, _ and -",
    ),
]


class Credentials(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """A key pair as the exchange showed it. `passphrase`: Coinbase only."""

    api_key: KeyText
    api_secret: KeyText
    passphrase: KeyText | UnsetType = UNSET
    sub_account_id: NameText | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"Credentials({DOTS})"


class Revoke(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Why every key of the tenant is shredded."""

    reason: ReasonText


class KeyView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One version of a key: `fingerprint` is its first 4 characters and 8 hex digits of SHA-256.
    `ipRestricted`: "true", "false" or "cannot be read".
    """

    fingerprint: str
    rights: tuple[str, ...]
    ip_restricted: str
    validated_at: datetime | None
    created_at: datetime
    retire_at: datetime | None


class CredentialView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A credential without its secret. `problem` says why it is not ACTIVE."""

    exchange_id: ExchangeId
    status: CredentialStatus
    problem: str | None
    current: KeyView | None
    pending: KeyView | None
    previous: KeyView | None
    shredded: bool


class Revoked(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was revoked; `shredded` false: tried again until it is."""

    credentials: tuple[CredentialView, ...]


def credential_view(row: CredentialRow) -> CredentialView:
    """What may be shown of a credential."""
    return CredentialView(
        exchange_id=row.exchange_id,
        status=row.status,
        problem=row.problem,
        current=_key_view(row.current),
        pending=_key_view(row.pending),
        previous=_key_view(row.previous),
        shredded=row.shredded,
    )


def _key_view(facts: KeyFacts | None) -> KeyView | None:
    if facts is None:
        return None
    restricted = facts.ip_restricted
    return KeyView(
        fingerprint=facts.fingerprint,
        rights=facts.rights,
        ip_restricted="cannot be read" if restricted is None else str(restricted).lower(),
        validated_at=facts.validated_at,
        created_at=facts.created_at,
        retire_at=facts.retire_at,
    )


async def put(services: Services, call: Call[Nothing, Credentials]) -> Answer:
    """Validated at the exchange before it is stored."""
    exchange_id, caller = _exchange(services, call), call.caller
    row = await services.credentials.submit(
        caller.tenant_id, exchange_id, _credentials(call.body), actor=caller.key_id
    )
    return Answer(credential_view(row))


async def get(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Metadata and fingerprints."""
    exchange_id = _exchange(services, call)
    row = await services.credentials.view(call.caller.tenant_id, exchange_id)
    return Answer(credential_view(row))


async def delete(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Shredded: nobody can bring it back."""
    exchange_id, caller = _exchange(services, call), call.caller
    row = await services.credentials.delete(caller.tenant_id, exchange_id, actor=caller.key_id)
    return Answer(credential_view(row))


async def validate(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """The stored key, asked about again now."""
    exchange_id, caller = _exchange(services, call), call.caller
    row = await services.credentials.validate(caller.tenant_id, exchange_id, actor=caller.key_id)
    return Answer(credential_view(row))


async def stage(services: Services, call: Call[Nothing, Credentials]) -> Answer:
    """The new key waits beside the one in use."""
    exchange_id, caller = _exchange(services, call), call.caller
    row = await services.rotation.stage(
        caller.tenant_id, exchange_id, _credentials(call.body), actor=caller.key_id
    )
    return Answer(credential_view(row))


async def test(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """Asks the exchange about the staged key."""
    exchange_id, caller = _exchange(services, call), call.caller
    row = await services.rotation.test(caller.tenant_id, exchange_id, actor=caller.key_id)
    return Answer(credential_view(row))


async def switch(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """The tested key signs from now on."""
    exchange_id, caller = _exchange(services, call), call.caller
    row = await services.rotation.switch(caller.tenant_id, exchange_id, actor=caller.key_id)
    return Answer(credential_view(row))


async def retire(services: Services, call: Call[Nothing, Nothing]) -> Answer:
    """The key before is let go of."""
    exchange_id, caller = _exchange(services, call), call.caller
    row = await services.rotation.retire(caller.tenant_id, exchange_id, actor=caller.key_id)
    return Answer(credential_view(row))


async def revoke_all(services: Services, call: Call[Nothing, Revoke]) -> Answer:
    """For an incident."""
    caller = call.caller
    rows = await services.credentials.revoke_all(
        caller.tenant_id, actor=caller.key_id, reason=printable(call.body.reason, "reason")
    )
    return Answer(Revoked(credentials=tuple(map(credential_view, rows))))


def _credentials(body: Credentials) -> ExchangeCredentials:
    passphrase = given(body.passphrase)
    return ExchangeCredentials(
        api_key=body.api_key,
        api_secret=Secret(body.api_secret),
        passphrase=None if passphrase is None else Secret(passphrase),
        sub_account_id=given(body.sub_account_id),
    )


def _exchange(services: Services, call: Call[Any, Any]) -> ExchangeId:
    text = call.path["exchangeId"]
    for exchange_id in services.exchange_ids:
        if exchange_id.value == text:
            return exchange_id
    raise ServiceError(
        f"There is no such exchange here; choose of {', '.join(services.exchange_ids)}.",
        "NOT_FOUND",
    )


_EXAMPLE = {
    "apiKey": "the API key as the exchange showed it",
    "apiSecret": "the API secret as the exchange showed it",
}
_PATH = "/v1/exchanges/{exchangeId}/credentials"
_ASKS = ("CREDENTIAL_REFUSED", "EXCHANGE_UNAVAILABLE", "CONFLICT", "NOT_FOUND")


def _step(name: str, handler: Any, summary: str, errors: tuple[str, ...]) -> Route:
    return Route(
        method="POST",
        path=f"{_PATH}/rotation/{name}",
        operation=f"{name}RotatedCredentials",
        handler=handler,
        summary=summary,
        tag="credentials",
        permission=Permission.ADMIN,
        answers={200: CredentialView},
        errors=errors,
    )


ROUTES = (
    Route(
        method="PUT",
        path=_PATH,
        operation="putCredentials",
        handler=put,
        summary="Store your exchange key, if it can read and trade and cannot withdraw or transfer",
        tag="credentials",
        permission=Permission.ADMIN,
        body=Credentials,
        answers={200: CredentialView},
        errors=_ASKS,
        example=_EXAMPLE,
    ),
    Route(
        method="GET",
        path=_PATH,
        operation="getCredentials",
        handler=get,
        summary="What is known of your exchange key; never its secret",
        tag="credentials",
        permission=Permission.READ,
        answers={200: CredentialView},
        errors=("NOT_FOUND",),
    ),
    Route(
        method="DELETE",
        path=_PATH,
        operation="deleteCredentials",
        handler=delete,
        summary="Shred your exchange key",
        tag="credentials",
        permission=Permission.ADMIN,
        limit=Limit.STOPPING,
        answers={200: CredentialView},
        errors=("NOT_FOUND", "CONFLICT"),
    ),
    Route(
        method="POST",
        path=f"{_PATH}/validate",
        operation="validateCredentials",
        handler=validate,
        summary="Ask the exchange about your stored key again; a suspended one that is fit is used",
        tag="credentials",
        permission=Permission.ADMIN,
        answers={200: CredentialView},
        errors=_ASKS,
    ),
    Route(
        method="POST",
        path=f"{_PATH}/rotation",
        operation="stageRotatedCredentials",
        handler=stage,
        summary="Stage a new key beside the one in use",
        tag="credentials",
        permission=Permission.ADMIN,
        body=Credentials,
        answers={200: CredentialView},
        errors=("CONFLICT", "NOT_FOUND"),
        example=_EXAMPLE,
    ),
    _step("test", test, "Ask the exchange about the staged key", _ASKS),
    _step("switch", switch, "Sign with the tested key from now on", ("CONFLICT", "NOT_FOUND")),
    _step("retire", retire, "Let go of the key before this one", ("CONFLICT", "NOT_FOUND")),
    Route(
        method="POST",
        path="/v1/credentials/revoke-all",
        operation="revokeAllCredentials",
        handler=revoke_all,
        summary="For an incident: stop using and shred every exchange key of your tenant",
        tag="credentials",
        permission=Permission.ADMIN,
        limit=Limit.STOPPING,
        body=Revoke,
        answers={200: Revoked},
        example={"reason": "A laptop was stolen."},
    ),
)
