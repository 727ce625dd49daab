"""Public helpers for tests of adapters: fakes, a clock, the conformance suite."""
