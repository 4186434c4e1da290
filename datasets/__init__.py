from util import packages  # noqa: F401 - before all that needs them
