"""Protocols as bytes and events, without sockets: a test needs no network and a fuzzer no harness."""
