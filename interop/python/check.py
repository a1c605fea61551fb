"""Assertions, and waiting for a condition in place of sleeping."""
import time

# Generous: the machine may be busy compiling.
PATIENCE_SECONDS = 60


class Failure(Exception):
    """What a scenario found wrong."""


def check(holds, what):
    if not holds:
        raise Failure(what)


def equal(expected, actual, what):
    if expected != actual:
        raise Failure('%s: expected %r, got %r' % (what, expected, actual))


def eventually(condition, what):
    """`what` is asked only at the end, so that it can tell the last state."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise Failure('not within %d s: %s' % (PATIENCE_SECONDS, what()))
        time.sleep(0.02)


def settle():
    """Lets a wrong extra delivery arrive, where the scenario claims that none comes."""
    time.sleep(1)
