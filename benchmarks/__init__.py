"""The figures runctl promises, measured on this machine: ``python -m benchmarks [NAME...]``, or ``make bench``.

Every figure is a median, and every floor is measured in the same run, taking turns with what it is the floor of: a
busy machine makes both slower, and the ratio stays. None of this is a test; tests do not look at the clock.
"""
