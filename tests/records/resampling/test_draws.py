"""Every model gets the same resamples, by what its images are and not by where they stand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.records.resampling.draws import BLOCK, RESAMPLES, draw, draws_key

digests = st.lists(st.text("0123456789abcdef", min_size=8, max_size=8), min_size=1, max_size=9, unique=True)


@given(digests, st.randoms())
def test_an_image_is_drawn_as_often_wherever_it_stands(images: list[str], random: object) -> None:
    moved = sorted(images)
    one, other = next(draw(images)), next(draw(moved))
    assert {image: one[:, place].tolist() for place, image in enumerate(images)} == {
        image: other[:, place].tolist() for place, image in enumerate(moved)
    }
    assert draws_key(images) == draws_key(moved)
    assert draws_key([*images, "more"]) != draws_key(images)


def test_each_resample_has_as_many_images_as_the_split_and_all_are_drawn_alike() -> None:
    images = [f"{index:x}" for index in range(10)]
    drawn = np.concatenate(list(draw(images)))
    assert drawn.shape == (RESAMPLES, 10) and RESAMPLES % BLOCK == 0
    assert (drawn.sum(1) == 10).all()
    assert np.allclose(drawn.mean(0), 1, atol=0.15)
    assert len(np.unique(drawn, axis=0)) > 900
    assert np.array_equal(drawn, np.concatenate(list(draw(images))))
