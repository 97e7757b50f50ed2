"""Where the time around the network goes: one image, or a batch of it, from its pixels to its detections.

A stage that this device cannot run as the project does is None: OpenCV or Pillow may be missing for `pre`,
the spec of the outputs for `post`; the CPU has no copies to time.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from edgeprune.backends import Staged

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.backends import Session
    from edgeprune.images.postprocess import Postprocess, Selection
    from edgeprune.images.preprocess import Preprocess

STAGES = ("pre", "h2d", "compute", "d2h", "post")
PASSES = 32


def stages_ms(
    job: dict[str, Any], session: Session, clock: Callable[[], int] = time.perf_counter_ns
) -> dict[str, float | None]:
    """Return the median time of each stage over some passes with the job's image, ms, or None."""
    import numpy as np

    from edgeprune.images.heads import HEADS
    from edgeprune.images.pixels import SELDOM, to_input

    image = np.load(job["image"])
    pre = cast("Preprocess", SimpleNamespace(**SELDOM | job["preprocess"]))
    told = job["postprocess"]
    post = cast("Postprocess", SimpleNamespace(**{"keypoints": None} | told)) if told else None
    # An application's: what a validator goes by leaves hundreds of boxes to NMS.
    deployed = told and told["deployment"] and cast("Selection", SimpleNamespace(**told["deployment"]))
    batch = job["batch"]

    def prepare() -> np.ndarray[Any, Any]:
        return np.concatenate([to_input(image, pre)[0] for _ in range(batch)])

    def read(outputs: Sequence[np.ndarray[Any, Any]], post: Postprocess) -> None:
        for row in range(batch):
            HEADS[post.head].read([output[row : row + 1] for output in outputs], post, deployed)

    try:
        tensor = prepare()
    except ImportError:
        tensor = None
    spent: dict[str, list[float]] = defaultdict(list)

    def timed(stage: str, call: Callable[..., Any], *args: object) -> Any:
        start = clock()
        result = call(*args)
        spent[stage].append((clock() - start) / 1e6)
        return result

    taken: np.ndarray[Any, Any] = (
        np.array(np.load(job["inputs"], mmap_mode="r")[:batch]) if tensor is None else tensor
    )
    for _ in range(PASSES):
        if tensor is not None:
            taken = timed("pre", prepare)
        outputs = timed("compute", session, taken)
        if post is not None:
            timed("post", read, outputs, post)
    if isinstance(session, Staged):
        del spent["compute"]
        for _ in range(PASSES):
            for stage, ms in session.stages_ms(taken).items():
                spent[stage].append(ms)
    return {stage: statistics.median(spent[stage]) if spent[stage] else None for stage in STAGES}
