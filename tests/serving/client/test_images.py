"""Batches of encoded images."""

from crater_model.errors import DataError
from crater_model.serving.client.images import Batcher, Encoded


def test_batches_obey_both_limits():
    batcher = Batcher(3, 100, 1.0)
    sizes = [40, 40, 40, 500, 10, 10, 10, 10]
    batches = [batcher.add(Encoded("x", b"x" * n, (1, 1))) for n in sizes] + [batcher.rest()]
    assert [[len(i.data) for i in b] for b in batches if b] == [
        [40, 40], [40], [500], [10, 10, 10], [10]]


def test_a_batch_goes_as_soon_as_it_is_full_and_an_error_keeps_its_place():
    batcher, image, error = Batcher(2, 100, 1.0), Encoded("x", b"x", (1, 1)), DataError("bad")
    assert [batcher.add(image), batcher.add(error)] == [[], [image, error]]
    assert Batcher(1, 100, 1.0).add(image) == [image] and batcher.rest() == []
