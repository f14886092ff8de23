"""`make benchmark`: what guarding costs, measured on real parts and printed. Nothing here is asserted."""

import platform
import shutil
import tempfile
from pathlib import Path

from benchmarks.guarding import measure_all

if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp(prefix="mem0-assets-benchmark-"))
    print(f"{platform.platform()}, Python {platform.python_version()}\n")
    try:
        for line in measure_all(folder):
            print(line, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
