r"""Make the paper's tables and Figure 5: ours with intervals, beside the published figure, above the controls.

Runs the heads that are missing, evaluates them with model.evaluate, and writes table_N.md, .csv and .tex, and
figure_5.png and .svg. An interrupted command continues; tables share runs, and a table can be rebuilt from the
scores.csv files of its runs alone.

Examples:
    python scripts/make_tables.py --table 1 --out runs/tables
    python scripts/make_tables.py --all --plan --out runs/tables
    python scripts/make_tables.py --table 1 4 --figure 5 --scale paper --audited fr1=models/fr1 fr2=models/fr2 \
        fr3=models/fr3 --protocol runs/protocols --out runs/tables-paper
"""

import sys

from _cli import run

from mint_keras.quiet import quiet_import

with quiet_import():
    from mint_keras.stages.make_tables import MakeTables, make_tables

if __name__ == "__main__":
    sys.exit(run(MakeTables, make_tables))
