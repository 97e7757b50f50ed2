from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from edgeprune.report.scatter import Point, pareto_front


def _beats(one: Point, two: Point) -> bool:
    return one[:2] != two[:2] and one.ms <= two.ms and one.rated >= two.rated


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(0, 20)), min_size=1))
def test_the_front_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    points = [Point(ms, rated, SimpleNamespace()) for ms, rated in pairs]
    front = pareto_front(points)
    unbeaten = {point[:2] for point in points if not any(_beats(other, point) for other in points)}
    assert {point[:2] for point in front} == unbeaten
    assert [point.ms for point in front] == sorted(point.ms for point in front)
