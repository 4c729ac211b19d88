"""Benchmarks: what the budgets of the design promise, measured on this machine beside what they are compared with."""
