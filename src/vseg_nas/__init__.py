"""Architecture search for dynamic cells in semantic video segmentation.

Whatever imports a module of the package, a command, the API or a worker process, comes through here before it loads
torch, and OpenMP reads its environment as torch is loaded. By default idle threads of OpenMP spin for milliseconds
after every operator, in the way of whatever else wants the core. Here they sleep, those of GNU's OpenMP after ten
thousand turns (docs/performance.md, "Threads that wait"). A way of waiting that the user has chosen stays.
"""

import os

__version__ = "0.1.0"

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}
_CHOSEN_BY = (*_WAITING, "KMP_BLOCKTIME")

if not any(name in os.environ for name in _CHOSEN_BY):
    os.environ |= _WAITING
