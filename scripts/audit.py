r"""Say whether a finished run of train_mint.py is evidence of training use: references, controls, a verdict by a rule.

The accuracy that train_mint.py prints compares different databases, which a network tells apart without any membership.
Evidence needs a comparison in which only membership differs (other people of the members' own database), and the score
must beat everything that knows nothing of the members. Without such people the verdict is "cannot decide".

Examples:
    python scripts/train_mint.py --head vanilla --baselines --out runs/mint
    python scripts/audit.py --run runs/mint --out runs/audit
    python scripts/audit.py --run runs/mint --foreign models/lab2 --out runs/audit-foreign
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.audit.opened import Audit
    from mint_keras.stages.audit.stage import audit

if __name__ == "__main__":
    sys.exit(run(Audit, audit))
