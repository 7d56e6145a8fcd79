"""Thresholds of findings. Shares are of rows, in [0, 1], unless stated otherwise."""

from __future__ import annotations

FEW_ROWS = 100  # with fewer, a share says too little to advise anything

# Trainers cut long answers off; about four characters of English are a token, so this is some 500 tokens.
TRUNCATED_CHARS = 2000

NEAR_IDENTICAL_SHARE = 0.01
TRUNCATED_SHARE = 0.01

LENGTH_D = 0.5  # Cohen's d of the lengths in words: a "medium" effect
LENGTH_ACCURACY = 0.65  # of "the shorter (or the longer) one is rejected"

AUC_WARNING = 0.8  # of telling rejected from chosen by text alone; lower end of the interval
CLASSIFIER_PAIRS = 4000  # sampled for the classifier
CLASSIFIER_PAIRS_MIN = 100
CLASSIFIER_CHARS = 4000  # read of each of their texts
CLASSIFIER_FOLDS = 5
CLASSIFIER_FEATURES = 50_000
BOOTSTRAPS = 200
TELLING_WORDS = 8

SIMILAR_SHARE = 0.10  # flagged as similar, or a cosine of at least the next
SIMILAR = 0.97  # the paper's eps_s

YES_NO_ROWS = 20  # fewer say nothing about a balance
YES_SHARE = (0.3, 0.7)

REFUSAL_SHARE = 0.01
BLUR_SHARE = 0.01
TAG_SHARE = 0.01  # an error from here on, a warning below
ONE_SIDED = 2.0  # a phrase counts as telling when one side has it so many times more often

UNKNOWN_WORDS = 0.02  # of the words of rejected answers ...
UNKNOWN_RATIO = 2.0  # ... and so many times what is natural in the chosen ones

SCRIPT_SHARE = 0.01

REPEATED_IMAGE_SHARE = 0.01  # of all rows that show one and the same picture ...
REPEATED_IMAGE_ROWS = 20  # ... and at least so many
REPEATED_PROMPT_SHARE = 0.2

SMALL_SIDE = 64  # pixels
SMALL_SHARE = 0.05
