"""The benchmark suite: ``python tests/benchmarks [--quick]`` prints one table."""
