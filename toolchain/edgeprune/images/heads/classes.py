"""Scores of classes, (1, classes): the best of them is an image's class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeprune.images.heads import values
from edgeprune.images.heads.kind import Floats, Head, Outputs, Shared, require

if TYPE_CHECKING:
    from edgeprune.images.postprocess import Postprocess, Selection


def check(outputs: Outputs, post: Postprocess) -> None:
    """Require (1, classes) of finite numbers; see `require`."""
    wanted = (1, len(post.names))
    require(outputs, lambda shape: shape == wanted, str(wanted))


def decode(outputs: Outputs, post: Postprocess, selection: Selection | None) -> Floats:
    """Return the best class of one image: float32 (1, 2) of score and class."""
    found = np.asarray(outputs[0][0], dtype=np.float32)
    best = int(found.argmax())
    return np.array([[found[best], best]], dtype=np.float32)


def shared(one: Outputs, other: Outputs, post: Postprocess) -> Shared:
    """Count the images that both runs give the same class."""
    same = one[0].argmax(axis=1) == other[0].argmax(axis=1)
    return Shared("classes", len(same), int(same.sum()))


HEAD = Head(check, decode, shared, values.difference, values.error)
