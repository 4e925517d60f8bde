"""When to worry: rule packs and the engine that judges columns by them.  Pure: no I/O, time is an argument."""
