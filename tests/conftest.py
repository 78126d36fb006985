"""Settings for all tests. A test says how many examples it wants; how long one may take is no rule here: machines differ, and a slow one is not wrong."""

from hypothesis import HealthCheck, settings

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("house")
