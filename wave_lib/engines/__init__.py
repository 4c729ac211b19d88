"""Decisions, pure: facts and `now` in, decisions out. No file, process, clock, environment or random access."""
