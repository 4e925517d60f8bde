"""Units that devices speak, and what it takes to turn one into another.

A class fixes one unit for each metric; a profile names the device's own where it differs.  All
conversions are linear: ``canonical = raw * factor + shift``.
"""

from __future__ import annotations

# unit → (quantity, factor to the quantity's base unit, shift to the base unit)
UNITS: dict[str, tuple[str, float, float]] = {
    "": ("number", 1, 0),
    "%": ("share", 1, 0),
    "%RH": ("relative humidity", 1, 0),
    "%LEL": ("share of lower explosive limit", 1, 0),
    "%VOL": ("volume share", 1, 0),
    "V": ("voltage", 1, 0),
    "mV": ("voltage", 1e-3, 0),
    "A": ("current", 1, 0),
    "mA": ("current", 1e-3, 0),
    "W": ("active power", 1, 0),
    "kW": ("active power", 1e3, 0),
    "VA": ("apparent power", 1, 0),
    "var": ("reactive power", 1, 0),
    "kWh": ("energy", 1, 0),
    "Wh": ("energy", 1e-3, 0),
    "kVAh": ("apparent energy", 1, 0),
    "Hz": ("frequency", 1, 0),
    "ohm": ("resistance", 1, 0),
    "kohm": ("resistance", 1e3, 0),
    "degC": ("temperature", 1, 0),
    "degF": ("temperature", 5 / 9, -160 / 9),
    "deg": ("angle", 1, 0),
    "m": ("length", 1, 0),
    "cm": ("length", 1e-2, 0),
    "mm": ("length", 1e-3, 0),
    "mm/h": ("rain rate", 1, 0),
    "m/s": ("speed", 1, 0),
    "km/h": ("speed", 1 / 3.6, 0),
    "Pa": ("pressure", 1, 0),
    "hPa": ("pressure", 1e2, 0),
    "kPa": ("pressure", 1e3, 0),
    "MPa": ("pressure", 1e6, 0),
    "mbar": ("pressure", 1e2, 0),
    "bar": ("pressure", 1e5, 0),
    "psi": ("pressure", 6894.757293168, 0),
    "mH2O": ("pressure", 9806.65, 0),
    "m3": ("volume", 1, 0),
    "L": ("volume", 1e-3, 0),
    "m3/h": ("flow", 1, 0),
    "L/s": ("flow", 3.6, 0),
    "ug/m3": ("mass concentration in air", 1, 0),
    "mg/m3": ("mass concentration in air", 1e3, 0),
    "ppm": ("volume parts", 1, 0),
    "ppb": ("volume parts", 1e-3, 0),
    "mg/L": ("mass concentration in water", 1, 0),
    "ug/L": ("mass concentration in water", 1e-3, 0),
    "mg/kg": ("mass share", 1, 0),
    "uS/cm": ("conductivity", 1, 0),
    "mS/cm": ("conductivity", 1e3, 0),
    "NTU": ("turbidity", 1, 0),
    "pH": ("acidity", 1, 0),
    "dB": ("sound level", 1, 0),
    "dB(A)": ("sound level", 1, 0),
    "lx": ("illuminance", 1, 0),
    "klx": ("illuminance", 1e3, 0),
    "dBm": ("signal", 1, 0),
    "s": ("time", 1, 0),
    "ms": ("time", 1e-3, 0),
    "min": ("time", 60, 0),
    "h": ("time", 3600, 0),
    "d": ("time", 86400, 0),
}


def conversion(source: str, target: str) -> tuple[float, float]:
    """Return ``(factor, shift)`` with ``target = source * factor + shift``.

    Raises KeyError for an unknown unit and ValueError for two that do not measure the same.

    >>> conversion("bar", "MPa")
    (0.1, 0.0)
    >>> [round(x, 6) for x in conversion("degF", "degC")]
    [0.555556, -17.777778]
    """
    quantity, factor, shift = UNITS[source]
    wanted, target_factor, target_shift = UNITS[target]
    if quantity != wanted:
        raise ValueError(f"'{source}' measures {quantity}, '{target}' measures {wanted}")
    return round(factor / target_factor, 15), (shift - target_shift) / target_factor
