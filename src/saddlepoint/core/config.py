"""Records: frozen, validated hyperparameters that read from and write to TOML or JSON, and have a stable hash."""

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from fractions import Fraction
from functools import wraps
from typing import Annotated, Any, TypeVar, dataclass_transform

import pydantic
import tomli_w
from pydantic import BeforeValidator, ConfigDict, Field

from saddlepoint.core.errors import ConfigError
from saddlepoint.core.registry import did_you_mean, registry

R = TypeVar("R")


def number(value: Any) -> Any:
    """Read "8/255" as well as 0.5; anything else is left for the validator to refuse."""
    if not isinstance(value, str):
        return value
    try:
        return float(value) if value in ("inf", "-inf") else float(Fraction(value))
    except (ValueError, ZeroDivisionError):
        return value


Radius = Annotated[float, Field(ge=0), BeforeValidator(number)]
StepSize = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(number)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def record(cls: type[R]) -> type[R]:
    """Make a class a record: a frozen, keyword-only data class whose fields are validated when it is made."""
    return _validated(cls, kw_only=True)


@dataclass_transform(frozen_default=True, field_specifiers=(Field,))
def positional_record(cls: type[R]) -> type[R]:
    """A record whose fields may be given by position, as in `Linf(8 / 255)`."""
    return _validated(cls, kw_only=False)


def _validated(cls: type[R], *, kw_only: bool) -> type[R]:
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, strict=False)
    made: Any = pydantic.dataclasses.dataclass(frozen=True, kw_only=kw_only, config=config)(cls)
    validate = made.__init__

    @wraps(validate)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            validate(self, *args, **kwargs)
        except pydantic.ValidationError as error:
            raise ConfigError(_sentence(cls, error)) from None

    made.__init__ = init
    return made


def _sentence(cls: type, error: pydantic.ValidationError) -> str:
    errors = error.errors()
    first = next((e for e in errors if e["type"].startswith("unexpected")), errors[0])
    known = [f.name for f in fields(cls)]
    at = first["loc"][0] if first["loc"] else ""
    if first["type"] == "unexpected_positional_argument":
        return f"{cls.__name__} takes keywords only; got {first['input']!r} by position. Write {known[0]}=..., say."
    name = known[at] if isinstance(at, int) else str(at)
    if first["type"] == "unexpected_keyword_argument":
        return f"{cls.__name__} has no field {name!r}.{did_you_mean(name, known)} Its fields: {', '.join(known) or 'none'}."
    if first["type"] in ("missing", "missing_argument"):
        return f"{cls.__name__} needs {name!r}; write {cls.__name__}({name}=...)."
    expected = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{cls.__name__}.{name or 'arguments'} should be {expected}; got {first['input']!r}."


def to_config(value: Any) -> Any:
    """Plain data of a record, nested records and all: {"name": "PGD", "steps": 40, ...}."""
    if hasattr(type(value), "__dataclass_fields__"):
        return {"name": type(value).__name__} | {f.name: to_config(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, list | tuple):
        return [to_config(v) for v in value]
    if isinstance(value, Mapping):
        return {k: to_config(v) for k, v in value.items()}
    return value


def from_config(data: Any, kind: str) -> Any:
    """The record of `kind` ("attack", "threat", ...) that plain data, or just a name, describes; likewise inside it."""
    if isinstance(data, str):
        return registry(kind).get(data)()
    if not isinstance(data, Mapping) or "name" not in data:
        raise ConfigError(f"The {kind} must be a name or a table with the key 'name'; got {data!r}.")
    cls = registry(kind).get(data["name"])
    records = {name for name, field in getattr(cls, "__dataclass_fields__", {}).items() if field.type is registry(kind).base}
    return cls(**{str(k): _field(v, kind, k in records) for k, v in data.items() if k != "name"})


def _field(value: Any, kind: str, is_record: bool) -> Any:
    if value == "none":
        return None
    return from_config(value, kind) if is_record and isinstance(value, str) else _nested(value, kind)


def _nested(value: Any, kind: str) -> Any:
    if isinstance(value, Mapping) and "name" in value:
        return from_config(value, kind)
    if isinstance(value, list | tuple):
        return tuple(_nested(v, kind) for v in value)
    return value


def _named_none(value: Any) -> Any:
    """TOML has no null: None is written as the text "none"."""
    if isinstance(value, Mapping):
        return {k: _named_none(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_named_none(v) for v in value]
    return "none" if value is None else value


def to_toml(value: Any) -> str:
    """TOML text of a record."""
    return tomli_w.dumps(_named_none(to_config(value)))


def from_toml(text: str, kind: str) -> Any:
    """The record that TOML text describes."""
    return from_config(parsed(tomllib.loads, text, "TOML"), kind)


def to_json(value: Any) -> str:
    """Canonical JSON of a record: sorted keys, no spaces."""
    return json.dumps(to_config(value), sort_keys=True, separators=(",", ":"))


def from_json(text: str, kind: str) -> Any:
    """The record that JSON text describes."""
    return from_config(parsed(json.loads, text, "JSON"), kind)


def parsed(parse: Callable[[str], Any], text: str, what: str) -> Any:
    """Parse, and turn a syntax error into one sentence."""
    try:
        return parse(text)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"This is not valid {what}: {error}. Correct it there; got {text!r:.80}.") from None


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON: equal records have equal digests, on any machine and in any process."""
    return hashlib.sha256(to_json(value).encode()).hexdigest()
