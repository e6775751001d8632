r"""Ask the auditor about worlds whose truth is known: how often does it accuse wrongly, how often does it find?

Small audited models are trained on drawn people. In null worlds the claimed members were never trained on: they are of
another database than the externals, or of the model's own, or of neither. Every world is decided from its scores by the
rule of audit.py. Beside it stands what a reader would say who takes raw MINT accuracy for membership. An interrupted
command continues.

Examples:
    python scripts/validate_auditor.py --quick --out runs/validation-quick
    python scripts/validate_auditor.py --plan --out runs/validation
    python scripts/validate_auditor.py --out runs/validation
    python scripts/validate_auditor.py --worlds familiar both --out runs/validation
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.validation.options import ValidateAuditor
    from mint_keras.stages.validation.stage import validate_auditor

if __name__ == "__main__":
    sys.exit(run(ValidateAuditor, validate_auditor))
