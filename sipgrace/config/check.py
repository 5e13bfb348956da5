"""
Checks the tables of a file by a model. Every mistake is reported, all at once, in the words of the file.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sipgrace.config.sections import Section
from sipgrace.errors import ConfigError

__all__ = ["checked"]

_Config = TypeVar("_Config", bound=Section)
_Path = tuple[str | int, ...]

# What pydantic calls a type, and what a TOML file calls it.
_TYPES = {
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a string",
    "tuple_type": "an array",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def checked(data: dict[str, Any], name: str, model: type[_Config]) -> _Config:
    """
    @param data: the tables; keys that the model does not know are taken out.
    @param name: what errors call the file; relative paths in it count from its folder.
    @raise ConfigError: naming the file, and for every mistake its key and what was expected.
    """
    context = {"folder": Path(name).absolute().parent}
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        found = error.errors()
    unknown = [detail for detail in found if detail["type"] == "extra_forbidden"]
    if unknown:
        # A section with an unknown key is not checked any further; without that key it is.
        for detail in unknown:
            *path, key = detail["loc"]
            section: Any = data
            for part in path:
                section = section[part]
            del section[key]
        try:
            model.model_validate(data, context=context)
        except ValidationError as error:
            found = error.errors() + unknown
    lines = [line for detail in found for line in _describe(detail, model)]
    raise ConfigError("\n".join(f"{name}: {line}" for line in lines))


def _describe(detail: ErrorDetails, model: type[Section]) -> Iterator[str]:
    path, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    value: object = detail["input"]
    if kind == "mistakes":
        for below, text in context["mistakes"]:
            key = _key((*path, *below))
            yield f"{key}: {text}" if key else text
        return
    if kind == "extra_forbidden":
        known = _keys(model, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        text = f"expected one of the keys {', '.join(known)}, found an unknown one{hint}"
    elif kind == "missing":
        text = "expected this key, found none"
    elif kind == "value_error":
        text = str(context["error"])
    elif kind in _TYPES:
        text = f"expected {_TYPES[kind]}, found {_toml(value)}"
    elif kind == "greater_than_equal":
        text = f"expected at least {context['ge']:g}, found {_toml(value)}"
    elif kind == "less_than_equal":
        text = f"expected at most {context['le']:g}, found {_toml(value)}"
    elif kind == "too_short":
        text = f"expected at least {_count(context['min_length'])}, found {_count(context['actual_length'])}"
    else:
        # "Input should be 'auto', 'userspace' or 'kernel'", "Input should be a finite number"
        text = f"{detail['msg'].replace('Input should be', 'expected')}, found {_toml(value)}"
    yield f"{_key(path)}: {text}"


def _count(number: int) -> str:
    return f"{number} entry" if number == 1 else f"{number} entries"


def _toml(value: object) -> str:
    """
    A value as it stands in the file, or its kind where it is long.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "an array"
    return repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."


def _key(path: _Path) -> str:
    """
    C{routes[2].prefix} for the second [[routes]]: tables and entries are counted from 1, as people do.
    """
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _keys(model: type[BaseModel], path: _Path) -> list[str]:
    """
    The keys that the section at C{path} may have.
    """
    for part in path:
        if isinstance(part, int):
            continue
        annotation = next(f.annotation for f in model.model_fields.values() if f.alias == part)
        model = _section(annotation)
    return [field.alias or "" for field in model.model_fields.values()]


def _section(annotation: Any) -> type[BaseModel]:
    """
    The section inside C{Section}, C{Section | None} or C{tuple[Section, ...]}.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(_section(one) for one in get_args(annotation) if one not in (type(None), ...))
