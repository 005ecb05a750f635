"""What holds for every test."""

from hypothesis import HealthCheck, settings

# Speed is measured in benchmarks, never asserted in tests: a slow machine must not fail one.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
