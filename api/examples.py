"""Examples of bodies, put together from the examples of their members, so that none goes stale by itself."""

from collections.abc import Iterator, Mapping
from typing import Any

_MISSING = object()
_PLAIN: Mapping[str, Any] = {"string": "text", "integer": 0, "boolean": False, "object": {}, "array": []}


def add_examples(document: dict[str, Any]) -> None:
    """Give each JSON body of the document that has no example one, in requests and in answers of success."""
    schemas = document["components"]["schemas"]
    for operation in (one for methods in document["paths"].values() for one in methods.values()):
        contents = list(operation.get("requestBody", {}).get("content", {}).values())
        is_asked = len(contents)
        for status, answer in operation["responses"].items():
            if status.startswith("2"):
                contents += [content for kind, content in answer.get("content", {}).items() if "json" in kind]
        for number, content in enumerate(contents):
            if "example" in content:
                content["examples"] = {"example": {"value": content.pop("example")}}
            elif "examples" not in content and content.get("schema"):
                value = made(content["schema"], schemas, is_whole=number >= is_asked)
                content["examples"] = {"example": {"value": value}}


def made(schema: Mapping[str, Any], schemas: Mapping[str, Any], *, is_whole: bool) -> Any:
    """Make an example; a whole one has every member, another those that are required or have an example."""
    schema = _resolved(schema, schemas)
    given = _given(schema, schemas)
    if given is not _MISSING:
        return given
    if "anyOf" in schema:
        return made(schema["anyOf"][0], schemas, is_whole=is_whole)
    if schema.get("type") == "array" and is_whole and schema.get("items"):
        return [made(schema["items"], schemas, is_whole=is_whole)]
    if "properties" in schema:
        return dict(_members(schema, schemas, is_whole))
    return schema.get("minimum", _PLAIN.get(schema.get("type", ""), None))


def _members(
    schema: Mapping[str, Any], schemas: Mapping[str, Any], is_whole: bool
) -> Iterator[tuple[str, Any]]:
    for name, member in schema["properties"].items():
        is_wanted = is_whole or name in schema.get("required", ())
        if is_wanted or _given(_resolved(member, schemas), schemas, or_default=False) is not _MISSING:
            yield name, made(member, schemas, is_whole=is_whole)


def _given(schema: Mapping[str, Any], schemas: Mapping[str, Any], *, or_default: bool = True) -> Any:
    """The example that a schema names, itself or in one of its alternatives."""
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    for alternative in schema.get("anyOf", ()):
        inner = _given(_resolved(alternative, schemas), schemas, or_default=False)
        if inner is not _MISSING:
            return inner
    if or_default and schema.get("default") is not None:
        return schema["default"]
    return schema["enum"][0] if or_default and "enum" in schema else _MISSING


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference; what stands beside it wins."""
    if "$ref" not in schema:
        return schema
    beside = {name: value for name, value in schema.items() if name != "$ref"}
    return {**schemas[schema["$ref"].rpartition("/")[2]], **beside}
