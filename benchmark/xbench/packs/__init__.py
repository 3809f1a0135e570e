"""Reference packs: what a run has estimated, in one small file, so that others need not estimate it again.

A pack holds hypotheses and references (sums and counts of both halves, and how they were made), each bound by the hash
of its key to audio, model, revision and parameters. It holds neither audio nor weights, and nothing in it is executed
when it is read. With the pack and the clips a new method is scored against published references in seconds.

`file` is the format, `making` takes a pack from results and the store they were made with, `opening` puts it into
another store.
"""

from __future__ import annotations

from xbench.packs.making import make_pack, named
from xbench.packs.opening import Opened, open_pack

__all__ = ["Opened", "make_pack", "named", "open_pack"]
