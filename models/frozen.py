"""Frozen dataclasses as JSON and back: what every configuration of the models room is made of."""

import dataclasses
from typing import Any


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line and names the file or field (exit code 2)."""


# Metadata of a field that came after models were published: at its default it is not written, so that what was
# published before and what is published now have one spelling (`as_dict`).
OPTION = {"option": True}


def as_dict(value: Any) -> Any:
    """Like dataclasses.asdict, without the fields of OPTION that are at their default; `from_dict` reads it."""
    if not dataclasses.is_dataclass(value):
        return value
    return {
        one.name: as_dict(getattr(value, one.name))
        for one in dataclasses.fields(value)
        if not (one.metadata.get("option") and getattr(value, one.name) == one.default)
    }


def from_dict(cls: type, value: dict[str, Any]) -> Any:
    """A frozen dataclass from a dict, nested dataclasses included; unknown or missing fields raise InputError."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(set(value) - set(fields)):
        raise InputError(f"{cls.__name__} has no field {', '.join(unknown)}; it has {', '.join(fields)}")
    required = {n for n, f in fields.items() if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(required - set(value)):
        raise InputError(f"{cls.__name__} misses {', '.join(missing)}")
    made = {
        name: from_dict(fields[name].type, item)  # type: ignore[arg-type]
        if dataclasses.is_dataclass(fields[name].type) and isinstance(item, dict)
        else item
        for name, item in value.items()
    }
    return cls(**made)


def override(recipe: Any, changes: dict[str, Any]) -> Any:
    """A copy of a frozen dataclass with some fields replaced; a nested dict changes a nested dataclass."""
    merged = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    for name, item in changes.items():
        if name not in merged:
            raise InputError(f"{type(recipe).__name__} has no field {name}; it has {', '.join(merged)}")
        current = merged[name]
        if dataclasses.is_dataclass(current) and not isinstance(current, type) and isinstance(item, dict):
            merged[name] = override(current, item)
        else:
            merged[name] = tuple(item) if isinstance(current, tuple) and isinstance(item, list) else item
    return type(recipe)(**merged)
