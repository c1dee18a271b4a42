"""What others would use instead. Each module is a lap of its own and says what it does and what it does not do.

A peer imports its framework only where it runs, and of the project only `benchmarks.bench_lap`, so that the
Python of another environment can run it.
"""
