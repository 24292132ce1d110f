"""The command line."""

import gc

# First of all, for it is the imports that this is about: they make objects by the hundred thousand and hardly any
# garbage. With Python's 700 the collector takes a fifth of the CPU that a command needs to start.
gc.set_threshold(200_000, *gc.get_threshold()[1:])
