"""The order in which endpoints are asked."""

from crater_model.serving.client.addresses import parse_addresses
from crater_model.serving.client.endpoints import LONGEST_PAUSE_S, Endpoint, Pool, pause_s
from crater_model.serving.client.failures import Failure, Kind

DOWN = Failure(Kind.DOWN, "UNAVAILABLE", "gone")


def pool_of(count, share=2):
    pool = Pool([Endpoint(address, None)
                 for address in parse_addresses([f"h:{n + 1}" for n in range(count)])], share)
    return pool, pool.endpoints


def test_round_robin_leaves_out_what_is_out_and_avoids_what_has_failed():
    pool, (a, b, c) = pool_of(3)
    assert [pool.pick() for _ in range(4)] == [a, b, c, a]
    assert pool.take_out(b, DOWN) and not pool.take_out(b, DOWN)
    assert b.failures == 1 and pool.last_failure() is DOWN
    assert [pool.pick() for _ in range(3)] == [c, a, c]
    assert [pool.pick(avoid=a) for _ in range(2)] == [c, c]
    pool.take_out(c, DOWN)
    assert pool.pick(avoid=a) is a  # there is no other
    pool.take_out(a, DOWN)
    assert pool.pick() is None
    pool.bring_back(b, 5.0)
    assert pool.pick() is b and (b.failures, b.back_at) == (1, 5.0)


def test_an_endpoint_with_its_share_in_flight_is_passed_over():
    pool, (a, b) = pool_of(2)
    a.in_flight = 2
    assert [pool.pick() for _ in range(3)] == [b, b, b]
    b.in_flight = 5
    assert {pool.pick(), pool.pick()} == {a, b}


def test_pauses_double_up_to_a_limit_and_are_jittered():
    for failures, middle in [(1, 0.5), (2, 1.0), (3, 2.0), (9, LONGEST_PAUSE_S),
                             (10**6, LONGEST_PAUSE_S)]:
        found = [pause_s(failures) for _ in range(50)]
        assert 0.75 * middle <= min(found) < max(found) <= 1.25 * middle
