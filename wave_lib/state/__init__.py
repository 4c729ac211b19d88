"""Canonical facts on disk: logs, records, envelopes; how they are written and read."""
