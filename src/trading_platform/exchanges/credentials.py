"""The credential flow: a key is taken only after the exchange itself has said what it may do.

1. Nothing is stored of a key that the exchange refused, or could not judge in time.
2. audit -> row -> custody -> row: a stop between any two leaves what CredentialWatch finishes.
3. To stop is never refused: revoking goes on when the audit log or one account fails.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from msgspec.structs import replace

from trading_platform.exchanges.credential_rows import (
    GONE,
    CredentialRow,
    CredentialRows,
    CredentialStatus,
    KeyFacts,
    fingerprint,
)
from trading_platform.exchanges.custody import Audit, Custody, Log, Probing, Sessions
from trading_platform.exchanges.rights import KeyRights, ip_words, judge
from trading_platform.exchanges.signer import form_problem_of
from trading_platform.exchanges.standing import Standing
from trading_platform.kit.bus import Bus
from trading_platform.kit.clock import Clock
from trading_platform.kit.errors import ServiceError
from trading_platform.market.events import CredentialSuspended
from trading_platform.market.instruments import ExchangeId
from trading_platform.secrets.model import ExchangeCredentials
from trading_platform.secrets.stages import Stage

VALIDATE_EVERY = timedelta(hours=24)
FINISH_AFTER = timedelta(seconds=60)
GRACE = timedelta(hours=24)
"""How long the key before stays in custody after a switch."""
VALIDATIONS_MAX = 16
"""Keys that are validated at once, of all tenants: exchanges count failed logins by address."""
SYSTEM = "system"


class CredentialService:
    """Keys of all tenants; every call names whose. `rotation` and `watch` work on the same rows."""

    def __init__(
        self,
        rows: CredentialRows,
        custody: Custody,
        prober: Probing,
        audit: Audit,
        sessions: Sessions,
        standing: Standing,
        bus: Bus,
        clock: Clock,
        log: Log,
    ) -> None:
        self.rows = rows
        self.custody = custody
        self.clock = clock
        self.log = log
        self.sessions = sessions
        self.standing = standing
        self._prober = prober
        self._audit = audit
        self._bus = bus
        self._busy: set[tuple[str, ExchangeId]] = set()

    async def submit(
        self,
        tenant_id: str,
        exchange_id: ExchangeId,
        credentials: ExchangeCredentials,
        *,
        actor: str,
    ) -> CredentialRow:
        """Validate at the exchange and keep; the key before stays in custody for GRACE.

        Raises INVALID_REQUEST (the form), CREDENTIAL_REFUSED (the exchange, or its rights),
        EXCHANGE_UNAVAILABLE and RATE_LIMIT_EXCEEDED; in all of these nothing is stored.
        """
        self.check_form(exchange_id, credentials)
        rights = await self.judged(tenant_id, exchange_id, credentials, actor=actor)
        facts = self.facts(credentials, rights)
        account = (tenant_id, exchange_id)
        await self.note(*account, actor, "CREDENTIAL_STORED", _told(facts, rights))
        now = self.clock.now()

        def arrive(row: CredentialRow | None) -> CredentialRow:
            if row is None or row.status in GONE:
                version = row.version if row else 0
                row = CredentialRow(
                    tenant_id=tenant_id,
                    exchange_id=exchange_id,
                    status=CredentialStatus.STORING,
                    changed_at=now,
                    version=version,
                )
            return replace(row, incoming=facts, changed_at=now, check_at=now + FINISH_AFTER)

        await self.rows.change(*account, arrive)
        await self.custody.put(
            *account,
            replace(credentials, permissions=frozenset(facts.rights), created_at=now),
            version_id=facts.version_id,
            stage=Stage.CURRENT,
            actor=actor,
        )
        try:
            return await self.arrived(*account, facts)
        except ServiceError as error:
            if error.code == "CONFLICT":  # revoked, deleted or replaced while it was on its way
                await self._take_back(*account, actor)
            raise

    async def view(self, tenant_id: str, exchange_id: ExchangeId) -> CredentialRow:
        """What may be shown; NOT_FOUND where the tenant has no key, or deleted it."""
        row = await self.rows.get(tenant_id, exchange_id)
        if row is None or row.status is CredentialStatus.DELETED:
            raise ServiceError(
                f"no credential is stored for {exchange_id}; store one with "
                f"PUT /v1/exchanges/{exchange_id}/credentials.",
                "NOT_FOUND",
            )
        return row

    async def validate(
        self, tenant_id: str, exchange_id: ExchangeId, *, actor: str
    ) -> CredentialRow:
        """Ask the exchange again: ACTIVE when the key is fit, else SUSPENDED and a refusal.

        When nobody can say, the credential stays as it was.
        """
        row = await self.view(tenant_id, exchange_id)
        if row.status in GONE:
            raise ServiceError("this credential was revoked; submit a new key.", "CONFLICT")
        credentials = await self.custody.get(tenant_id, exchange_id)
        print_now = fingerprint(credentials.api_key)
        try:
            rights = await self.judged(tenant_id, exchange_id, credentials, actor=actor)
        except ServiceError as refusal:
            if refusal.code in {"CREDENTIAL_REFUSED", "INVALID_REQUEST"}:
                await self.suspend(tenant_id, exchange_id, refusal.message, print_now)
            raise
        return await self.fit(tenant_id, exchange_id, print_now, rights)

    async def delete(self, tenant_id: str, exchange_id: ExchangeId, *, actor: str) -> CredentialRow:
        """Stop using the key at once and shred it; NOT_FOUND where there is none."""
        await self.view(tenant_id, exchange_id)
        await self.note(tenant_id, exchange_id, actor, "CREDENTIAL_DELETED", {})
        row = await self._gone(tenant_id, exchange_id, CredentialStatus.DELETED, "it was deleted")
        return await self.shred(row, actor=actor)

    async def revoke_all(
        self, tenant_id: str | None, *, actor: str, reason: str
    ) -> list[CredentialRow]:
        """For an incident: no key of the tenant (None: of anybody) is used from now on, and each is
        shredded. What could not be shredded at once is tried again until it is; `shredded` tells.
        """
        rows = await (self.rows.of_tenant(tenant_id) if tenant_id else self.all_rows())
        live = [row for row in rows if row.status not in GONE]
        problem = f"revoked: {reason}"
        revoked = [
            await self._revoke(row, actor=actor, problem=problem, reason=reason) for row in live
        ]
        return [await self._shred_if_possible(row, actor=actor) for row in revoked]

    async def all_rows(self) -> list[CredentialRow]:
        """The rows of all tenants."""
        found, after = await self.rows.changed("", None)
        while after is not None:
            more, after = await self.rows.changed("", after)
            found += more
        return found

    # -- what the rotation and the watch share

    def check_form(self, exchange_id: ExchangeId, credentials: ExchangeCredentials) -> None:
        """INVALID_REQUEST for a key that shows to be pasted wrongly."""
        problem = form_problem_of(exchange_id, self._prober.mode(exchange_id), credentials)
        if problem is not None:
            raise ServiceError(
                f"{problem.message}.", "INVALID_REQUEST", metadata={"reason": problem.code}
            )

    async def judged(
        self,
        tenant_id: str,
        exchange_id: ExchangeId,
        credentials: ExchangeCredentials,
        *,
        actor: str,
    ) -> KeyRights:
        """The rights of a key that we take; CREDENTIAL_REFUSED for any other."""
        async with _turn(self._busy, (tenant_id, exchange_id)):
            try:
                rights = await self._prober.probe(exchange_id, credentials)
            except ServiceError as error:
                await self._note_refused(tenant_id, exchange_id, actor, error)
                raise
        refusal = judge(exchange_id, rights, self._prober.mode(exchange_id))
        if refusal is None:
            return rights
        refused = ServiceError(
            f"{refusal.message}.", "CREDENTIAL_REFUSED", metadata={"reason": refusal.code}
        )
        await self._note_refused(tenant_id, exchange_id, actor, refused)
        raise refused

    def facts(self, credentials: ExchangeCredentials, rights: KeyRights | None) -> KeyFacts:
        """What may be shown of a new version."""
        now = self.clock.now()
        facts = KeyFacts(
            version_id=str(uuid4()), fingerprint=fingerprint(credentials.api_key), created_at=now
        )
        return facts if rights is None else validated(facts, rights, now)

    async def arrived(
        self, tenant_id: str, exchange_id: ExchangeId, facts: KeyFacts
    ) -> CredentialRow:
        """The secret of `facts` is current in custody: use it from now on."""

        def settle(row: CredentialRow | None) -> CredentialRow:
            row = _there(row)
            if row.current is not None and _same(row.current, facts):
                return row
            awaited = (row.incoming, row.pending)
            if row.status in GONE or not any(one and _same(one, facts) for one in awaited):
                raise ServiceError("this credential was changed meanwhile; look again.", "CONFLICT")
            before, now = row.current, self.clock.now()
            return self.scheduled(
                replace(
                    row,
                    status=CredentialStatus.ACTIVE,
                    problem=None,
                    changed_at=now,
                    current=facts,
                    incoming=None,
                    pending=None,
                    previous=before and replace(before, retire_at=now + GRACE),
                )
            )

        return await self._use(await self.rows.change(tenant_id, exchange_id, settle))

    async def fit(
        self, tenant_id: str, exchange_id: ExchangeId, print_now: str, rights: KeyRights
    ) -> CredentialRow:
        """The key in custody was validated just now."""
        now = self.clock.now()

        def pass_(row: CredentialRow | None) -> CredentialRow:
            row = _there(row)
            if row.current is None or row.current.fingerprint != print_now:
                raise ServiceError("the key was replaced meanwhile; look again.", "CONFLICT")
            return self.scheduled(
                replace(
                    row,
                    status=CredentialStatus.ACTIVE,
                    problem=None,
                    changed_at=now,
                    current=validated(row.current, rights, now),
                )
            )

        return await self._use(await self.rows.change(tenant_id, exchange_id, pass_))

    async def suspend(
        self, tenant_id: str, exchange_id: ExchangeId, reason: str, print_now: str
    ) -> None:
        """No new orders with this key; says so on the bus, once."""
        now = self.clock.now()
        was: list[CredentialStatus] = []

        def stop(row: CredentialRow | None) -> CredentialRow:
            row = _there(row)
            if row.current is None or row.current.fingerprint != print_now:
                raise ServiceError("the key was replaced meanwhile; look again.", "CONFLICT")
            was.append(row.status)
            return self.scheduled(
                replace(
                    row,
                    status=CredentialStatus.SUSPENDED,
                    problem=reason,
                    changed_at=now,
                ),
                checked_at=now,
            )

        row = await self.rows.change(tenant_id, exchange_id, stop)
        await self._use(row)
        if was[-1] is not CredentialStatus.SUSPENDED:
            await self._try_note(row, SYSTEM, "CREDENTIAL_SUSPENDED", {"reason": reason})
            self.log.warning(
                "exchange key suspended: no new orders",
                tenant_id=tenant_id,
                exchange_id=exchange_id,
                reason=reason,
            )
            self._bus.publish(
                CredentialSuspended(
                    tenant_id=tenant_id,
                    exchange_id=exchange_id.value,
                    reason=reason,
                    event_at=now,
                )
            )

    async def shred(self, row: CredentialRow, *, actor: str) -> CredentialRow:
        """Let go of the secret for ever and write down that it is gone."""
        await self.custody.shred(*row.account, actor=actor)

        def done(now: CredentialRow | None) -> CredentialRow:
            found = _there(now)
            if found.status not in GONE:  # a new key was submitted meanwhile
                return found
            return replace(found, shredded=True, check_at=None)

        return await self.rows.change(*row.account, done)

    def scheduled(self, row: CredentialRow, checked_at: datetime | None = None) -> CredentialRow:
        """The row with the time when somebody must look at it again."""
        last = checked_at or (row.current and row.current.validated_at) or row.changed_at
        times = [last + VALIDATE_EVERY]
        if row.previous is not None and row.previous.retire_at is not None:
            times.append(row.previous.retire_at)
        return replace(row, check_at=min(times))

    async def note(
        self,
        tenant_id: str,
        exchange_id: ExchangeId,
        actor: str,
        action: str,
        details: Mapping[str, str],
    ) -> None:
        """Write down what is about to happen; what it raises must keep it from happening."""
        await self._audit.append(
            tenant_id,
            actor=actor,
            action=action,
            target=f"exchange:{exchange_id}",
            details=details,
        )

    async def _take_back(self, tenant_id: str, exchange_id: ExchangeId, actor: str) -> None:
        row = await self.rows.get(tenant_id, exchange_id)
        if row is None or row.status not in GONE:
            return
        now = self.clock.now()
        again = await self.rows.change(
            *row.account,
            lambda row: replace(_there(row), shredded=False, check_at=now),
        )
        await self.shred(again, actor=actor)

    async def _use(self, row: CredentialRow) -> CredentialRow:
        self.standing.note(row)
        await self.custody.renew(*row.account)
        self.sessions.renew(*row.account)
        return row

    async def _gone(
        self, tenant_id: str, exchange_id: ExchangeId, status: CredentialStatus, problem: str
    ) -> CredentialRow:
        now = self.clock.now()

        def end(row: CredentialRow | None) -> CredentialRow:
            return replace(
                _there(row),
                status=status,
                problem=problem,
                changed_at=now,
                incoming=None,
                pending=None,
                previous=None,
                shredded=False,
                check_at=now,
            )

        row = await self.rows.change(tenant_id, exchange_id, end)
        self.standing.note(row)
        await self.sessions.end(tenant_id, exchange_id)
        return row

    async def _revoke(
        self, row: CredentialRow, *, actor: str, problem: str, reason: str
    ) -> CredentialRow:
        # In this process at once, even if the row cannot be written.
        self.standing.note(replace(row, status=CredentialStatus.REVOKED, problem=problem))
        await self._try_note(row, actor, "CREDENTIAL_REVOKED", {"reason": reason})
        try:
            return await self._gone(*row.account, CredentialStatus.REVOKED, problem)
        except ServiceError as error:
            self._failed("credential not revoked in the records", row, error)
            return row

    async def _shred_if_possible(self, row: CredentialRow, *, actor: str) -> CredentialRow:
        try:
            return await self.shred(row, actor=actor)
        except ServiceError as error:
            self._failed("credential not shredded yet", row, error)
            return row

    async def _note_refused(
        self, tenant_id: str, exchange_id: ExchangeId, actor: str, error: ServiceError
    ) -> None:
        details = {"code": error.code, "reason": str(error.metadata.get("reason", ""))}
        try:
            await self.note(tenant_id, exchange_id, actor, "CREDENTIAL_NOT_TAKEN", details)
        except ServiceError as unwritten:
            # Refusing and suspending are the safe side: a broken log does not hold them up.
            self.log.warning(
                "CREDENTIAL_NOT_TAKEN is not in the audit log",
                tenant_id=tenant_id,
                exchange_id=exchange_id,
                error=unwritten.message,
            )

    async def _try_note(
        self, row: CredentialRow, actor: str, action: str, details: Mapping[str, str]
    ) -> None:
        try:
            await self.note(*row.account, actor, action, details)
        except ServiceError as error:
            self._failed(f"{action} is not in the audit log", row, error)

    def _failed(self, event: str, row: CredentialRow, error: ServiceError) -> None:
        self.log.warning(
            event, tenant_id=row.tenant_id, exchange_id=row.exchange_id, error=error.message
        )


class _turn:
    """One validation of an account at a time, and few of all; refuses rather than queues."""

    def __init__(self, busy: set[Any], account: tuple[str, ExchangeId]) -> None:
        self._busy = busy
        self._account = account

    async def __aenter__(self) -> None:
        if self._account in self._busy:
            raise ServiceError(
                "this credential is being validated already; look again shortly.", "CONFLICT"
            )
        if len(self._busy) >= VALIDATIONS_MAX:
            raise ServiceError(
                "too many credentials are being validated now.",
                "RATE_LIMIT_EXCEEDED",
                metadata={"retryAfter": 5.0},
            )
        self._busy.add(self._account)

    async def __aexit__(self, *reason: object) -> None:
        self._busy.discard(self._account)


def validated(facts: KeyFacts, rights: KeyRights, at: datetime) -> KeyFacts:
    """The facts with what the exchange said at that time."""
    return replace(
        facts,
        rights=tuple(sorted(rights.names())),
        ip_restricted=rights.ip_restricted,
        validated_at=at,
    )


def _there(row: CredentialRow | None) -> CredentialRow:
    if row is None:
        raise ServiceError("there is no such credential.", "NOT_FOUND")
    return row


def _same(one: KeyFacts, other: KeyFacts) -> bool:
    return one.version_id == other.version_id


def _told(facts: KeyFacts, rights: KeyRights) -> dict[str, str]:
    return {
        "fingerprint": facts.fingerprint,
        "rights": " ".join(facts.rights),
        "ipRestricted": ip_words(rights),
        "version": facts.version_id,
    }
