"""The OpenAPI 3.1 document, made from the route table that the server itself runs on."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from trading_platform.api.problems import CONTENT_TYPE, Problem
from trading_platform.api.routes import Limit, Nothing, Route
from trading_platform.kit.errors import CODES

_REF = "#/components/schemas/{name}"
_DESCRIPTION = (
    "Trade on several exchanges through one API: one trusted price a symbol, orders submitted "
    "exactly once, a kill switch that holds. Decimals are strings. Every error is a problem "
    "document (RFC 9457) with a `code`, whether trying again can help, and a correlation id. "
    "Live prices and orders: `WS /v1/stream`."
)
_PATH_PATTERN = r"^[A-Za-z0-9._:-]{1,64}$"


def codes_of(route: Route) -> tuple[str, ...]:
    """Every error code that `route` can answer."""
    codes = ["INVALID_REQUEST", *route.errors, "INTERNAL"]
    if "{" in route.path:
        codes.append("NOT_FOUND")
    if route.has_body:
        codes.append("REQUEST_TOO_LARGE")
    if route.permission is not None:
        codes += ["NOT_AUTHENTICATED", "NOT_PERMITTED", "STORAGE_UNAVAILABLE"]
    if route.limit is not Limit.NONE:
        codes += ["RATE_LIMIT_EXCEEDED", "PROVIDER_UNAVAILABLE"]
    return tuple(dict.fromkeys(codes))


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    types = _types(routes)
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = {str(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trading Platform",
            "version": version,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key of a tenant, such as tp_live_...",
                }
            },
        },
    }


def _types(routes: Sequence[Route]) -> list[Any]:
    kinds: dict[str, Any] = {str(Problem): Problem}
    for route in routes:
        for kind in (route.body, *route.answers.values()):
            if kind is not Nothing:
                kinds[str(kind)] = kind
    return list(kinds.values())


def _operation(route: Route, by_type: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": _parameters(route),
        "responses": _answers(route, by_type) | _errors(route),
        "security": [] if route.permission is None else [{"apiKey": []}],
    }
    if route.permission is not None:
        operation["x-permission"] = route.permission.value
        operation["x-budget"] = route.limit.value
    if route.has_body:
        media: dict[str, Any] = {"schema": by_type[str(route.body)]}
        if route.example is not None:
            media["example"] = dict(route.example)
        operation["requestBody"] = {"required": True, "content": {"application/json": media}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": _PATH_PATTERN},
        }
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]
    if route.idempotent:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": True,
                "description": "Names the intent: the same key and body never act twice.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,128}$"},
            }
        )
    for field in msgspec.structs.fields(route.query):
        parameters.append(
            {
                "name": field.encode_name,
                "in": "query",
                "required": field.required,
                "schema": _inline(field.type),
            }
        )
    return parameters


def _inline(kind: Any) -> Any:
    """The schema of a query parameter without references and without null: a parameter that is
    not sent is not null.
    """
    schemas, components = msgspec.json.schema_components([kind], ref_template=_REF)
    schema = dict(schemas[0])
    options = [part for part in schema.get("anyOf", [schema]) if part != {"type": "null"}]
    chosen = options[0]
    if "$ref" in chosen:
        chosen = components[chosen["$ref"].rsplit("/", 1)[1]]
    return chosen


def _answers(route: Route, by_type: dict[str, Any]) -> dict[str, Any]:
    return {
        str(status): {
            "description": "Done" if status < 300 else "Not now",
            "headers": _headers(route),
            "content": {route.content_type: {"schema": by_type[str(kind)]}},
        }
        for status, kind in route.answers.items()
    }


def _errors(route: Route) -> dict[str, Any]:
    by_status: dict[str, list[str]] = {}
    for code in codes_of(route):
        status = str(CODES[code].status_code)
        if int(status) not in route.answers:
            by_status.setdefault(status, []).append(code)
    return {
        status: {
            "description": "; ".join(f"{code}: {CODES[code].help}" for code in codes),
            "headers": _headers(route),
            "content": {CONTENT_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}},
        }
        for status, codes in sorted(by_status.items())
    }


def _headers(route: Route) -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    whole = {"schema": {"type": "integer", "minimum": 0}}
    headers: dict[str, Any] = {"X-Correlation-Id": text}
    if route.limit is not Limit.NONE:
        names = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")
        headers |= dict.fromkeys(names, whole)
    return headers
