r"""Choose who trains the heads and who evaluates them, as in the paper or stricter; no person on two sides.

Externals must have been searched for members (find_overlap.py) unless you insist. train_mint.py --protocol uses it.

Example:
    python scripts/make_protocol.py --case baseline --members faces/ms1mv3 --externals faces/ijbc faces/fddb \
        faces/gandiffface faces/adience --scan runs/overlap --out runs/protocol
    python scripts/make_protocol.py --case same-database --members models/lab/members.parquet \
        --externals models/lab/held_out.parquet --unscanned --out runs/protocol-lab
"""

import sys

from _cli import run

from mint_keras.stages.make_protocol import MakeProtocol, make_protocol

if __name__ == "__main__":
    sys.exit(run(MakeProtocol, make_protocol))
