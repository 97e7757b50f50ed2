"""Blocks that a network runs without, named so by the network itself: `prune.depth` may drop them."""

from __future__ import annotations


class Droppable:
    """Beside `nn.Module` a base of blocks that an identity may stand in for.

    Of a residual block, the identity computes what zeroing its branch does. Of any other block it is another
    function, and what that costs is measured before it is dropped.
    """

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the input's shape, so that an identity fits into the block's place."""
        return True
