"""Benchmarks: one file for each area of claims, and in `peers/` one file for each program that is timed."""
