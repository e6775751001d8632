"""Named streams of random numbers, so that two choices made from one seed never share their numbers.

Every stream is `numpy.random.default_rng([seed, number])`. A number, once published, stays: it decides results.
"""

import numpy as np

PROTOCOL = 1  # which people and photos train and test heads
EVALUATIONS = 2  # which photos of a comparison are kept, as many of both sides
BASELINES = 3  # which photos stay where a baseline cannot score all
DIVISION = 4  # which people choose the scorer, and which are reported on
# Which photos a case of the paper takes; a part's number stands behind. Zeros at the end are no part of a seed, so that
# part 0, the training members, has the division's stream: of photos here, of people there, and years apart.
CASES = 4
NOBODY = 5  # which of the people who are no members are claimed to be
RECALIBRATION = 6  # which faces give an untrained copy its statistics
LOTS = 7  # who is on which side when sides are dealt out by lot
TRANSPLANT = 8  # how changed files differ from one another
FILES = 9  # which files, or photos of a database, are looked at
SWAP = 10  # which photos of two models' members are compared
SWAP_NOBODY = 11  # which of the people neither model knows are claimed
THRESHOLD = 12  # who fixes the threshold of MINT+ on changed photos
CHANGES = 13  # the noise of changed photos
HELD_AT_ONCE = 14  # which photos of a comparison are held in memory at once
SHADOWS = 15  # who is in a shadow; its number stands behind
RETRIES = 16  # from which seed a head that died is trained again; how often it died stands behind
DATABASES = 17  # which photos of a reference stay, as many of each database on both sides
PIXELS = 23  # which pairs or faces rank the ways of scaling pixels


def stream(seed: int, *number: int) -> np.random.Generator:
    """Returns a stream.

    Args:
        seed: The seed that a user chose.
        number: One of the constants of this module, and whatever numbers tell further streams of that name apart.

    Example:
        >>> int(stream(1, DIVISION).integers(100)) == int(np.random.default_rng([1, 4]).integers(100))
        True
    """
    return np.random.default_rng([seed, *number])
