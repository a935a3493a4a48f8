"""Golden runs: recorded runs in a file beside a simulator's tests, compared with what it does now.

- ``file``: a file of golden runs: compared, or recorded anew.
- ``playing``: environments and simulators played and re-executed.
- ``differences``: the first difference, and the lines that show it.
- ``bundles``: bundles of recorded environments as tests.

The file is a bundle of tags ``golden/RUN``. Of its attachments only ``golden`` is read, plain data
that says how the runs were made; nothing in it is executed, and no environment is made from it.
docs/golden.md states its form.
"""

from simgit.integrations.golden.file import Golden

__all__ = ["Golden"]
