"""What Grafana calls our units.

Where Grafana has no name of its own, ``suffix:`` puts ours behind the number.  Source: Grafana, "Unit formats"
(``packages/grafana-data/src/valueFormats/categories.ts``).
"""

from __future__ import annotations

GRAFANA = {
    "": "none",
    "%": "percent",
    "%RH": "humidity",
    "V": "volt",
    "mV": "mvolt",
    "A": "amp",
    "mA": "mamp",
    "W": "watt",
    "kW": "kwatt",
    "VA": "voltamp",
    "var": "voltampreact",
    "kWh": "kwatth",
    "Wh": "watth",
    "Hz": "hertz",
    "degC": "celsius",
    "degF": "fahrenheit",
    "deg": "degree",
    "m": "lengthm",
    "mm": "lengthmm",
    "m/s": "velocityms",
    "km/h": "velocitykmh",
    "Pa": "pressurepa",
    "hPa": "pressurehpa",
    "kPa": "pressurekpa",
    "mbar": "pressurembar",
    "bar": "pressurebar",
    "psi": "pressurepsi",
    "m3": "m3",
    "L": "litre",
    "ppm": "ppm",
    "ppb": "conppb",
    "ug/m3": "conμgm3",
    "mg/m3": "conmgm3",
    "dB": "dB",
    "lx": "lux",
    "dBm": "dBm",
    "s": "s",
    "ms": "ms",
    "min": "m",
}
_WRITTEN = str.maketrans({"3": "³", "2": "₂", "u": "µ"})
_AS_IT_IS = {"%LEL", "%VOL", "mH2O", "pH", "NTU"}


def grafana_unit(unit: str) -> str:
    """Return the id under which Grafana formats a unit of :mod:`device_profiles.units`.

    >>> grafana_unit("degC"), grafana_unit("m3/h"), grafana_unit("uS/cm"), grafana_unit("%LEL")
    ('celsius', 'suffix: m³/h', 'suffix: µS/cm', 'suffix: %LEL')
    """
    if unit in GRAFANA:
        return GRAFANA[unit]
    return f"suffix: {unit if unit in _AS_IT_IS else unit.translate(_WRITTEN)}"
