"""L4: simulated backends, for first steps, tests and benchmarks."""
