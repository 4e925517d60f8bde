"""Units of terms: those of the metrics, and what multiplying and dividing makes of them."""

from __future__ import annotations

from typing import NamedTuple

from device_profiles.units import conversion

_POWER = (("A", 1), ("V", 1))
_MADE_OF = {"W": _POWER, "VA": _POWER, "var": _POWER, "": (), "h": (("h", 1),)}


class Measure(NamedTuple):
    """Base units with their powers, sorted; ``bare`` is a number without a unit, which takes on any.

    >>> str(Measure.of("V") * Measure.of("A")), Measure.of("V") * Measure.of("A") == Measure.of("W")
    ('A·V', True)
    >>> str(Measure.of("degC") / Measure.of("min"))
    'degC/min'
    """

    powers: tuple[tuple[str, int], ...]
    bare: bool = False

    @classmethod
    def of(cls, unit: str) -> Measure:
        """Return the measure of a unit of :data:`device_profiles.units.UNITS`, or of one a minute."""
        if unit.endswith("/min"):
            return cls.of(unit.removesuffix("/min")) / cls.of("min")
        return cls(_MADE_OF.get(unit, ((unit, 1),)))

    def __mul__(self, other: object) -> Measure:
        """Return the measure of a product."""
        if not isinstance(other, Measure):
            return NotImplemented
        return self._with(other, 1)

    def __truediv__(self, other: object) -> Measure:
        """Return the measure of a quotient."""
        if not isinstance(other, Measure):
            return NotImplemented
        return self._with(other, -1)

    def _with(self, other: Measure, sign: int) -> Measure:
        powers = dict(self.powers)
        for unit, power in other.powers:
            powers[unit] = powers.get(unit, 0) + sign * power
        left = tuple(sorted((unit, power) for unit, power in powers.items() if power))
        return Measure(left, self.bare and other.bare)

    def __str__(self) -> str:
        above = "·".join(_raised(unit, power) for unit, power in self.powers if power > 0)
        below = "·".join(_raised(unit, -power) for unit, power in self.powers if power < 0)
        return f"{above or '1'}/{below}" if below else above


BARE = Measure((), bare=True)


def fits(one: Measure, other: Measure) -> bool:
    """Return whether two terms can be compared, added and taken the greater of."""
    return one.bare or other.bare or one.powers == other.powers


def way_out(value: float, given: str, wanted: Measure) -> str:
    """Return how to write a number of another unit."""
    if not wanted.powers:
        return "leave the unit away"
    try:
        factor, shift = conversion(given, str(wanted))
    except (KeyError, ValueError):
        return f"write it in '{wanted}'"
    return f"write {value * factor + shift:g} {wanted}"


def _raised(unit: str, power: int) -> str:
    return unit if power == 1 else f"{unit}^{power}"
