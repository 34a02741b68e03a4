"""The OpenAPI 3.1 document, assembled from the declarations of the routes and their models."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from pipeline.heartbeat.http.api.idempotency import HEADER, LONGEST_KEY
from pipeline.heartbeat.http.api.problem import MEDIA_TYPE, TITLES, Kind, Problem
from pipeline.heartbeat.http.api.route import PREFIX, Route

_REF = "#/components/schemas/{model}"
_ALWAYS: tuple[Kind, ...] = ("unauthorized", "invalid-parameter", "too-many-requests", "store", "bug")
_BODY: tuple[Kind, ...] = ("invalid-body", "body-too-large", "unsupported-media-type", "timeout")


class Document:
    """The OpenAPI document of these routes. It is assembled when it is first needed, because most services are never asked for it."""

    def __init__(self, routes: Sequence[Route], version: str) -> None:
        self._routes = routes
        self._version = version

    @cached_property
    def content(self) -> bytes:
        return json.dumps(self.document).encode()

    @cached_property
    def document(self) -> dict[str, Any]:
        refs, definitions = self._schemas()
        paths: dict[str, dict[str, Any]] = {}
        for route in self._routes:
            operation = self._operation(route, refs, definitions)
            paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = operation
        return {
            "openapi": "3.1.0", "info": {"title": "pipeline", "version": self._version or "0", "description": "The API of the pipeline: see docs/api.md."},
            "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema", "security": [{"token": []}], "paths": paths,
            "components": {"schemas": definitions, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}}}

    def _schemas(self) -> tuple[dict[Any, Any], dict[str, Any]]:
        wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
        for route in self._routes:
            wanted += [(route.result, "serialization")] if route.result is not None else []
            wanted += [(model, "validation") for model in (route.query, route.body) if model is not None]
        refs, found = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REF)
        return refs, found["$defs"]

    def _operation(self, route: Route, refs: dict[Any, Any], definitions: dict[str, Any]) -> dict[str, Any]:
        kinds = (*_ALWAYS, *route.problems, *(_BODY if route.body is not None else ()), *(("read-only",) if route.method != "GET" else ()),
                 *(("not-found",) if "{" in route.path else ()), *(("unexpected-body",) if route.body is None else ()),
                 *(("key-reused", "in-progress") if route.method == "POST" else ()))
        content = {"application/json": {"schema": refs[route.result, "serialization"]}} if route.result is not None else \
            {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        responses = {str(status): {"description": HTTPStatus(status).phrase, "content": content} for status in route.statuses}
        if route.method == "GET":
            responses["304"] = {"description": HTTPStatus(304).phrase}
        if route.result is None:
            responses["206"] = {"description": HTTPStatus(206).phrase, "content": content}
            responses |= {str(status): {"description": HTTPStatus(status).phrase} for status in (412, 416)}
        problem = {MEDIA_TYPE: {"schema": refs[Problem, "serialization"]}}
        for kind in kinds:
            status = TITLES[kind][0]
            responses.setdefault(str(status), {"description": HTTPStatus(status).phrase, "content": problem})
        operation: dict[str, Any] = {
            "operationId": _operation_id(route), "summary": route.summary, "tags": [route.tag or route.path.split("/")[1]], "responses": responses,
            "parameters": [*_path_parameters(route), *_query_parameters(route, refs, definitions), *_header_parameters(route)]}
        if route.body is not None:
            schema = refs[route.body, "validation"]
            required = bool(definitions[schema["$ref"].rpartition("/")[2]].get("required"))
            operation["requestBody"] = {"required": required, "content": {"application/json": {"schema": schema}}}
        return operation


def _operation_id(route: Route) -> str:
    return re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").rstrip("_")


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    number = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}
    name = {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9_-]+$"}
    return [{"name": found, "in": "path", "required": True, "schema": number if found == "id" else name} for found in re.findall(r"{(\w+)}", route.path)]


def _header_parameters(route: Route) -> list[dict[str, Any]]:
    key = {"name": HEADER, "in": "header", "required": False, "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[!#-~]+$"},
           "description": "a text of your choice: the same request with the same key is performed only once within 24 hours"}
    return [key] if route.method == "POST" else []


def _query_parameters(route: Route, refs: dict[Any, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    schema = definitions[refs[route.query, "validation"]["$ref"].rpartition("/")[2]]
    required = schema.get("required", [])
    return [{"name": name, "in": "query", "required": name in required, "schema": _without_null(each),
             **({"description": each["description"]} if "description" in each else {})}
            for name, each in schema.get("properties", {}).items()]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a query parameter, which can be missing but not null."""
    kept = {key: value for key, value in schema.items() if key not in ("anyOf", "default", "description", "title")}
    others = [each for each in schema.get("anyOf", []) if each != {"type": "null"}]
    kept |= others[0] if len(others) == 1 else {"anyOf": others} if others else {}
    return kept | ({"default": schema["default"]} if schema.get("default") is not None else {})
