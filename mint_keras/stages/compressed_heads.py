"""x"""

QAT, PRUNED = "qat", "pruned"
KINDS = (QAT, PRUNED)
