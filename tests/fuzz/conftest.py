"""How long the fuzzers go on: half a minute in all, the same inputs each time; or as told.

``FUZZ_EXAMPLES=100000 python -m pytest tests/fuzz`` tries so many inputs a test, new ones each
time. What fails is made small and printed.
"""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))

# a fixture made once for all examples of a test is meant: a store, a broker
settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES or 25,
    derandomize=EXAMPLES == 0,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("fuzz")
