"""The command line."""

import gc

# First of all, for it is the imports that this is about: they make objects by the hundred thousand and hardly any
# garbage. The collector takes a fifth of the CPU that a command needs to start; ``main`` sets it going again.
gc.disable()
