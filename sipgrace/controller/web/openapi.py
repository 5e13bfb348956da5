"""
The API's description, as OpenAPI 3.1 has it: made from the very table and the very models that the API goes
by.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from inspect import cleandoc
from typing import Any

from pydantic import TypeAdapter

from sipgrace import __version__
from sipgrace.controller.web.bodies import LONGEST
from sipgrace.controller.web.routes import OPERATIONS, PREFIX, Many, Operation

__all__ = ["document"]

_REF = "#/components/schemas/{model}"

_PROBLEMS = {
    400: "The request is not what is expected; the detail says where.",
    401: "There is no token, or none that is known.",
    403: "Your role may not.",
    404: "There is nothing of that name.",
    409: "It does not fit how things stand: the budget, the node's state.",
    413: f"The body is longer than {LONGEST} bytes.",
    415: "The body is not JSON.",
    429: "Too many wrong tokens from this address.",
    502: "The node, or the controller that has it, cannot be reached.",
    503: "What must be kept cannot be, or there is no room.",
}


def document(controller: str) -> dict[str, Any]:
    """
    @param controller: the controller's name.
    @return: the document.
    """
    schemas: dict[str, Any] = {"Problem": _PROBLEM, "Notice": _NOTICE}
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = _described(
            operation, schemas
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"sipgrace controller {controller}",
            "version": __version__,
            "description": "Takes SIP servers out of service without losing a call, and brings them back. "
            "All times are in seconds; moments are seconds since the epoch.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    problems = {400, *operation.problems}
    if not operation.open:
        problems |= {401, 429}
    facts: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.says,
        "tags": [operation.tag],
        "parameters": [*_parameters(operation, schemas)],
    }
    if operation.open:
        facts["security"] = []
    if operation.body is not None:
        problems |= {413, 415}
        schema = _schema(operation.body, schemas, "validation")
        facts["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    facts["responses"] = {
        str(operation.status): _answer(operation, schemas),
        **{
            str(status): {
                "description": _PROBLEMS[status],
                "content": {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}},
            }
            for status in sorted(problems)
        },
    }
    return facts


def _parameters(operation: Operation, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", operation.path)
    ]
    query = operation.query.model_json_schema(ref_template=_REF)
    for name, schema in query.get("properties", {}).items():
        schema.pop("title", None)
        found.append({"name": name, "in": "query", "required": False, "schema": schema})
    if operation.id == "events":
        found.append(
            {
                "name": "Last-Event-ID",
                "in": "header",
                "required": False,
                "description": "The id of the last event that was seen.",
                "schema": {"type": "string"},
            }
        )
    return found


def _answer(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    description = HTTPStatus(operation.status).phrase
    if operation.status == 204:
        return {"description": description}
    if operation.id == "events":
        description = "Events whose data are a Notice; the first is 'hello', and says whether it was resumed."
        return {"description": description, "content": {operation.content: {"schema": {"type": "string"}}}}
    answer = operation.answer
    schema: dict[str, Any]
    if isinstance(answer, Many):
        schema = {
            "type": "object",
            "required": [answer.name],
            "properties": {
                answer.name: {"type": "array", "items": _schema(answer.record, schemas, "serialization")}
            },
        }
    elif answer is not None:
        schema = _schema(answer, schemas, "serialization")
    else:
        schema = {"type": "object"}
    return {"description": description, "content": {operation.content: {"schema": schema}}}


def _schema(model: Any, schemas: dict[str, Any], mode: Any) -> dict[str, Any]:
    """
    Puts a model's schema, and those that it is made of, among the others.

    @return: how to refer to it.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    schema = adapter.json_schema(ref_template=_REF, mode=mode)
    for name, part in schema.pop("$defs", {}).items():
        schemas[name] = _said(part)
    if "discriminator" in schema:
        return schema
    name = model.__name__
    schemas[name] = _said(schema)
    return {"$ref": _REF.format(model=name)}


def _said(schema: dict[str, Any]) -> dict[str, Any]:
    """
    The same, with a description for people who do not read docstrings: without the fields of epytext, which
    become those of the properties.
    """
    text = cleandoc(schema.get("description", ""))
    head, *fields = re.split(r"(?m)^@ivar ", text)
    schema["description"] = _words(head)
    for one in fields:
        name, _, said = one.partition(":")
        if name in schema.get("properties", {}):
            schema["properties"][name].setdefault("description", _words(said))
    for part in schema.get("properties", {}).values():
        part.pop("title", None)
    return schema


def _words(text: str) -> str:
    plain = re.sub(r"[CLIU]\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", text)
    return " ".join(plain.split())


_PROBLEM = {
    "type": "object",
    "description": "What went wrong, as RFC 9457 has it.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was wrong, and what would be right."},
    },
}

_NOTICE = {
    "type": "object",
    "description": "What the data of an event are. Its kind is the event's: node, event, order, rolling, "
    "schedule, report or alert.",
    "required": ["number", "node", "facts"],
    "properties": {
        "number": {"type": "integer"},
        "node": {"type": "string"},
        "facts": {"type": "object"},
    },
}
