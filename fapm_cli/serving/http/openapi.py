"""The description of the addresses, by OpenAPI 3.1; of a record, docs/score.schema.json."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from fapm_cli.serving.drawings import SHOWN
from fapm_cli.version import __version__

_JSON = "application/json"
_REFUSALS = {
    400: "The request can't be understood",
    401: "No token, or a wrong one",
    403: "The path, the host or the origin may not be asked for",
    404: "There is none",
    408: "The body did not come in time",
    409: "The decision can't be kept",
    410: "It is not kept any more",
    413: "Too many bytes",
    415: "No picture's format",
    503: "Too many pictures wait; Retry-After says when to try again",
}


def description() -> dict[str, Any]:
    """All of it, as plain values."""
    schema = files("fapm_cli.serving").joinpath("http", "score.schema.json").read_text("utf-8")
    parts = json.loads(schema.replace("#/$defs/", "#/components/schemas/"))["$defs"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "fapm serve", "version": __version__},
        "paths": _paths(),
        "components": {
            "schemas": {**parts, **_SCHEMAS},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _paths() -> dict[str, Any]:
    bank, id = _parameter("bank"), _parameter("id")
    picture = {"schema": {"type": "string", "format": "binary"}}
    body = {
        "required": True,
        "content": {
            "image/*": picture,
            "application/octet-stream": picture,
            _JSON: {"schema": _ref("named")},
        },
    }
    record = {_JSON: {"schema": _ref("record")}}
    score = {
        "summary": "Judge a picture",
        "parameters": [bank, _query("name", "What the record calls it", "string")],
        "requestBody": body,
        "responses": {
            "200": {"description": "It was judged", "content": record},
            "422": {"description": "It can't be read", "content": record},
            **_refused(400, 401, 403, 404, 408, 413, 415, 503),
        },
    }
    decide = _get("Decide of a picture", "judgement", 400, 404, 409, 410, parameters=[bank, id])
    decide["requestBody"] = {"required": True, "content": {_JSON: {"schema": _ref("decision")}}}
    px = _query("px", "The longer side at most, as a JPEG; else its own size, as a PNG", "integer")
    last = _query("last", "How many", "integer")
    of_bank = _query("bank", "Of one bank alone", "string")
    one = "/banks/{bank}/pictures/{id}"
    return {
        "/banks": {"get": _get("The banks", "banks", 401)},
        "/banks/{bank}/score": {"post": score},
        one: {"get": _get("One of the last pictures", "judgement", 404, parameters=[bank, id])},
        **{f"{one}/{what}": {"get": _image(f"Its {what}", [bank, id, px])} for what in SHOWN},
        f"{one}/decision": {"post": decide},
        "/pictures": {"get": _get("The last pictures", "judgements", parameters=[last, of_bank])},
        "/events": {"get": _text("Each picture as it is judged", "text/event-stream", [of_bank])},
        "/healthz": {"get": _get("Whether all is well", "health")},
        "/metrics": {"get": _text("Metrics for Prometheus", "text/plain", [])},
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str, said: str, kind: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": said, "schema": {"type": kind}}


def _refused(*statuses: int) -> dict[str, Any]:
    content = {_JSON: {"schema": _ref("refusal")}}
    return {str(one): {"description": _REFUSALS[one], "content": content} for one in statuses}


def _get(
    summary: str, schema: str, *refused: int, parameters: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    good = {"description": "So it is", "content": {_JSON: {"schema": _ref(schema)}}}
    return {
        "summary": summary,
        "parameters": parameters or [],
        "responses": {"200": good, **_refused(*refused)},
    }


def _image(summary: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    kinds: dict[str, Any] = {"image/png": {}, "image/jpeg": {}}
    good = {"description": "The picture", "content": kinds}
    responses = {"200": good, **_refused(400, 404, 410, 503)}
    return {"summary": summary, "parameters": parameters, "responses": responses}


def _text(summary: str, kind: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    good = {"description": "So it is", "content": {kind: {"schema": {"type": "string"}}}}
    return {"summary": summary, "parameters": parameters, "responses": {"200": good}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": [*properties], "properties": properties}


_TEXT, _FLAG, _NUMBER = {"type": "string"}, {"type": "boolean"}, {"type": "number"}
_BANK = _object(
    digest={"type": ["string", "null"]},
    since={"type": ["string", "null"], "format": "date-time"},
    threshold={"type": ["number", "null"]},
    pictures={"type": ["integer", "null"]},
    fault={"type": ["string", "null"]},
)
_BANKS = {"type": "object", "additionalProperties": _BANK}
_SCHEMAS = {
    "named": {**_object(path=_TEXT), "additionalProperties": False},
    "decision": _object(decision={"enum": ["good", "defect", "unsure"]}),
    "refusal": _object(error=_TEXT),
    "banks": _object(banks=_BANKS, decisions=_FLAG),
    "health": {
        **_object(status={"enum": ["ok", "degraded"]}),
        "description": "and banks and sources, of who may ask",
    },
    "judgement": _object(
        id=_TEXT,
        bank=_TEXT,
        time={"type": "string", "format": "date-time"},
        record=_ref("record"),
        decision={"enum": ["good", "defect", "unsure", None]},
        shown=_FLAG,
        drawn=_FLAG,
    ),
    "judgements": _object(pictures={"type": "array", "items": _ref("judgement")}),
}
