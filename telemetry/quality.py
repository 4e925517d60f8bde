"""How far a sample can be believed.

Three bands in one byte, after OPC UA Part 8 (good, uncertain, bad): a bad sample has no value, an
uncertain one has a value that no rule may judge as fact, a good one has both.
"""

from __future__ import annotations

from enum import IntEnum

UNCERTAIN_FROM = 64
BAD_FROM = 128
ABSENT = 255
"""In a quality matrix: the device did not speak of this metric at this time."""


class Quality(IntEnum):
    """Why a sample is, or is not, to be believed.  On the wire and in the store it is the number."""

    GOOD = 0
    # uncertain: a value was received
    IMPLAUSIBLE = 64  # outside the plausible range of its class
    WARMING_UP = 65  # the device says, or its profile knows, that it has not settled
    CLOCK_SUSPECT = 66  # the time stamp cannot be trusted
    STUCK = 67  # has not moved for longer than this kind of sensor ever rests
    # bad: no value was received
    NO_ANSWER = 128  # the device did not answer in time
    DEVICE_FAULT = 129  # the device answered with its own sign for a fault
    REFUSED = 130  # the device answered with an exception
    MALFORMED = 131  # the answer broke its format or checksum
    LINK_DOWN = 132  # the port or connection to the device could not be opened

    @property
    def is_good(self) -> bool:
        """Whether rules may judge the sample."""
        return self < UNCERTAIN_FROM

    @property
    def is_bad(self) -> bool:
        """Whether there is no value at all."""
        return self >= BAD_FROM
