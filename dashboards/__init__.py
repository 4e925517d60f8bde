"""Grafana boards, generated from classes and rule packs."""
