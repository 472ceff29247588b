"""`python -m tests.benchmarks`."""

import os
import sys

from tests.benchmarks import efficiency, training

from quorate.execution.ray.cluster import KEEPS_MEMORY

if __name__ == "__main__":
    if not KEEPS_MEMORY.items() <= os.environ.items():  # as a worker has it from its start
        os.execve(sys.executable, [sys.executable, "-m", "tests.benchmarks"], {**os.environ, **KEEPS_MEMORY})
    training.main()
    efficiency.main()
