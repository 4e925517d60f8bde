"""What waits for its turn gets it, whether anything arrives or not."""

import asyncio

from waiting import wait_until

from cloud_ingest.flow import Flow
from cloud_ingest.turns import LIVE_MS
from telemetry.clock import SystemClock
from telemetry.codecs import json
from telemetry.readings import Reading, Upload


class Silent:
    """A source that nothing comes from any more."""

    async def take(self, _most, _linger_s):
        await asyncio.Event().wait()

    def at_hand(self, _most):
        return []

    def waiting(self):
        return 0

    def acknowledge(self, acks):
        pass


async def test_what_waits_for_room_goes_on_when_there_is_some_though_nothing_arrives(bench):
    old = bench.clock.now_ms() - 2 * LIVE_MS
    history = [
        json.encode(
            Upload("edge-01", "b", seq, old, (Reading("noise-01", old + seq, {"sound_level": 50.0}),))
        )
        for seq in range(1, 81)
    ]
    bench.deliver(*history, bench.upload(100, {"sound_level": 51.0}), store=False)
    assert bench.pipeline.waits
    bench.ledger.frames._max_bytes = 0
    assert not bench.pipeline.can_go_on

    async def here(work, *arguments):
        return work(*arguments)

    flow = Flow(bench.pipeline, Silent(), SystemClock(), bench.metrics)
    flowing = asyncio.ensure_future(flow.run(here, lambda _: None))
    try:
        await asyncio.sleep(0)
        assert bench.pipeline.waits
        bench.writer.flush()  # the store is back
        bench.ledger.frames._max_bytes = 1 << 20
        await wait_until(lambda: not bench.pipeline.waits, 10, "what waits to be committed")
    finally:
        flowing.cancel()
        await asyncio.gather(flowing, return_exceptions=True)
    bench.writer.flush()
    assert bench.fates() == {"received": 81, "stored": 81, "quarantined": 0, "duplicated": 0}
