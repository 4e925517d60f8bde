"""What the API answers, as structs: OpenAPI is made of them; see :mod:`command_center.openapi`.

What a route answers is often a struct already (a plan, a report, a checkpoint); here stands the rest.
"""

from __future__ import annotations

from typing import Literal

Colour = Literal["blue", "yellow", "orange", "red"]
Level = Literal["IV", "III", "II", "I"]
