"""Makes named tuples for a guest: collections.namedtuple compiles code for each, and loads three modules for that. In
an emulated guest, that takes a tenth of a second.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["record"]


def record(module: str, name: str, fields: Sequence[str], defaults: Sequence[object] = ()) -> type:
    """Returns a class of tuples with named fields, as collections.namedtuple does: the last fields have defaults, and
    `_fields`, `_asdict` and `_replace` are there. Its types for mypy are those of a typing.NamedTuple beside the call.
    """
    known = frozenset(fields)
    given = dict(zip(fields[len(fields) - len(defaults) :], defaults, strict=True))

    def new(cls: type, /, *values: object, **named: object) -> object:
        if len(values) < len(fields) or named:
            rest = fields[len(values) :]
            whole = {**given, **named}
            if not known.issuperset(named) or any(key in named for key in fields[: len(values)]):
                raise TypeError(f"{name}: no such fields, or fields that are given twice: {', '.join(named)}")
            missing = [key for key in rest if key not in whole]
            if missing:
                raise TypeError(f"{name}: no value for {', '.join(missing)}")
            values += tuple(whole[key] for key in rest)
        if len(values) > len(fields):
            raise TypeError(f"{name}: {len(values)} values for {len(fields)} fields")
        return tuple.__new__(cls, values)

    def asdict(self: tuple[object, ...]) -> dict[str, object]:
        return dict(zip(fields, self, strict=True))

    def replace(self: tuple[object, ...], /, **named: object) -> object:
        return new(type(self), **{**asdict(self), **named})

    def shown(self: tuple[object, ...]) -> str:
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in asdict(self).items())})"

    def arguments(self: tuple[object, ...]) -> tuple[object, ...]:
        return (*self,)

    def field(place: int) -> property:
        return property(lambda self: self[place])

    members: dict[str, object] = {key: field(place) for place, key in enumerate(fields)}
    return type(
        name,
        (tuple,),
        {
            **members,
            "__module__": module,
            "__slots__": (),
            "__new__": new,
            "__getnewargs__": arguments,
            "__repr__": shown,
            "_fields": tuple(fields),
            "_asdict": asdict,
            "_replace": replace,
        },
    )
