"""What all tests start from, however they are started."""

from __future__ import annotations

import signal

from tests.support.examples import register_profiles

register_profiles()

# a shell's background job ignores Ctrl-C, and so would every process that a test starts and stops
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
