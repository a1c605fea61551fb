"""Runs scenarios of the Python client `rocketmq` against one cluster and prints a line for each.

    suite.py --namesrv HOST:PORT [--target java|single|three] [--gaps] [scenario ...]
"""
import argparse
import os
import sys
import threading
import time
import traceback

import receives
import sends
from clients import Clients

SCENARIOS = {
    'sync': sends.sync,
    'send-orderly': sends.send_orderly,
    'async': sends.send_async,
    'oneway': sends.oneway,
    'batch-as-one': sends.batch_as_one,
    'compressed': sends.compressed,
    'too-large': sends.too_large,
    'tags': receives.tags,
    'push-clustering': receives.push_clustering,
    'push-broadcasting': receives.push_broadcasting,
    'rebalance': receives.rebalance,
    'pull': receives.pull,
    'offsets-kept-push': receives.offsets_kept_push,
    'orderly': receives.orderly,
    'delay': receives.delay,
    'retry': receives.retry,
}

# What RaftMQ does not promise yet; run against Java's broker only. A scenario leaves this list with its feature.
KNOWN_GAPS = {
    'orderly': 'locks of queues, requests 41 and 42',
    'delay': 'delay levels',
    'retry': 'sending back, request 36',
}

# One scenario may take this long on a machine that is busy compiling.
LIMIT_SECONDS = 120


def attempt(name, namesrv):
    """Messages that were asserted, or what went wrong. A scenario that hangs is given up, its thread with it."""
    outcome = {}

    def run():
        clients = Clients(namesrv, name)
        try:
            outcome['messages'] = SCENARIOS[name](clients)
            clients.close()
        except Exception:  # told by the caller
            outcome['problem'] = traceback.format_exc().strip().replace('\n', '\n     ')

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT_SECONDS)
    if thread.is_alive():
        stack = ''.join(traceback.format_stack(sys._current_frames()[thread.ident]))
        outcome['problem'] = 'no end within %d s\n%s' % (LIMIT_SECONDS, stack)
    return outcome


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--namesrv', required=True)
    parser.add_argument('--target', default='unnamed')
    parser.add_argument('--gaps', action='store_true', help='run the known gaps too')
    parser.add_argument('scenarios', nargs='*')
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        print('no scenario %s; there are: %s' % (' '.join(sorted(unknown)), ' '.join(SCENARIOS)))
        return 2
    print('client Python rocketmq 0.4.4, target %s' % options.target, flush=True)
    passed = failed = skipped = 0
    for name in SCENARIOS:
        if options.scenarios and name not in options.scenarios:
            continue
        if name in KNOWN_GAPS and options.target != 'java' and not options.gaps:
            print('GAP  %s (%s)' % (name, KNOWN_GAPS[name]), flush=True)
            skipped += 1
            continue
        begin = time.monotonic()
        outcome = attempt(name, options.namesrv)
        if 'problem' in outcome:
            print('FAIL %s: %s' % (name, outcome['problem']), flush=True)
            failed += 1
        else:
            print('PASS %s (%d messages, %.1f s)' % (name, outcome['messages'], time.monotonic() - begin), flush=True)
            passed += 1
    print('%d passed, %d failed, %d skipped' % (passed, failed, skipped), flush=True)
    return 0 if passed and not failed else 1


if __name__ == '__main__':
    code = main()
    sys.stdout.flush()
    # The C++ core keeps threads that must not outlive the interpreter.
    os._exit(code)
