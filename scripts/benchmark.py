"""How fast is it here? Every figure stands beside a peer's in the same run.

Reading RecordIO against decoding, faces against insightface's own loop, the search for copies and memory as databases
grow.

Example:
    python scripts/benchmark.py --quick --out runs/benchmark
    python scripts/benchmark.py --edge --out runs/benchmark-edge
    python scripts/benchmark.py --detector scrfd_500m_bnkps.onnx --photos photos --out runs/benchmark
"""

import sys

from _cli import run

from mint_keras.stages.benchmark import Benchmark, benchmark

if __name__ == "__main__":
    sys.exit(run(Benchmark, benchmark))
