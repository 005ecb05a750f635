import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from trading_platform.api.app import TABLE
from trading_platform.api.decode import Decoder
from trading_platform.api.error_docs import errors_page
from trading_platform.api.openapi import codes_of, document
from trading_platform.api.routes import Limit, Route
from trading_platform.kit.errors import CODES

DOCUMENT = msgspec.json.decode(msgspec.json.encode(document(TABLE, "1.2.3")))


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(references(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(references(value) for value in part))
    return set()


def operation(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][route.path][route.method.lower()]
    return found


def test_every_route_stands_in_the_document_once() -> None:
    names = [route.operation for route in TABLE]
    assert len(set(names)) == len(names) == sum(len(path) for path in DOCUMENT["paths"].values())
    assert {operation(route)["operationId"] for route in TABLE} == set(names)
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert {ref.removeprefix("#/components/schemas/") for ref in references(DOCUMENT)} <= set(
        schemas
    )


def test_only_the_system_routes_are_open() -> None:
    open_paths = {route.path for route in TABLE if route.permission is None}
    assert open_paths == {"/healthz", "/readyz", "/openapi.json", "/metrics"}
    for route in TABLE:
        assert operation(route)["security"] == ([{"apiKey": []}] if route.permission else [])


def test_every_closed_route_spends_a_budget() -> None:
    assert {r.operation for r in TABLE if r.permission and r.limit is Limit.NONE} == set()
    stopping = {route.operation for route in TABLE if route.limit is Limit.STOPPING}
    assert stopping == {
        "cancelOrder",
        "activateKillSwitch",
        "deleteCredentials",
        "revokeAllCredentials",
    }


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.operation)
def test_every_error_is_documented_as_a_problem(route: Route) -> None:
    answers = operation(route)["responses"]
    for code in codes_of(route):
        answer = answers[str(CODES[code].status_code)]
        if CODES[code].status_code not in route.answers:
            assert code in answer["description"]
            assert "application/problem+json" in answer["content"]


@pytest.mark.parametrize("route", [r for r in TABLE if r.has_body], ids=lambda r: r.operation)
def test_every_body_has_an_example_that_decodes(route: Route) -> None:
    assert route.example is not None
    Decoder(route.query, route.body).body(msgspec.json.encode(dict(route.example)))
    media = operation(route)["requestBody"]["content"]["application/json"]
    assert media["example"] == route.example


def test_request_bodies_take_no_unknown_fields() -> None:
    for route in TABLE:
        if route.has_body:
            assert (
                DOCUMENT["components"]["schemas"][route.body.__name__]["additionalProperties"]
                is False
            )


def test_money_is_never_a_number_in_an_order_or_balance() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    money = re.compile(r"quantity|price|fee$|free|held|notional|increment", re.IGNORECASE)
    for name in ("SubmitOrder", "OrderView", "FillView", "BalanceView", "InstrumentView"):
        for field, schema in schemas[name]["properties"].items():
            if money.search(field):
                kinds = {part.get("type") for part in schema.get("anyOf", [schema])}
                assert kinds <= {"string", "null"}, (name, field)


def test_the_page_of_errors_says_what_the_table_has() -> None:
    page = Path(__file__).parents[3] / "docs" / "errors.md"
    assert page.read_text() == errors_page(), "python -m trading_platform.api.error_docs"
    assert all(f"`{code}`" in errors_page() for code in CODES)
