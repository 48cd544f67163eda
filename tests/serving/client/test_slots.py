"""The limit of requests on the way, by values and on a real event loop."""

import asyncio

import pytest

from crater_model.serving.client.slots import Slots


def test_refusals_shrink_it_once_a_second_and_answers_let_it_grow():
    slots = Slots(100)
    slots.used = 100
    slots.refused(10.0)
    slots.refused(10.5)
    assert slots.allowed == 80
    slots.used = 50  # what was refused then is what counts
    slots.refused(11.0)
    assert slots.allowed == 40
    for _ in range(40):
        slots.answered()
    assert slots.allowed == pytest.approx(41, abs=0.05)
    for _ in range(100_000):
        slots.answered()
    assert slots.allowed == 100
    slots.used = 1
    slots.refused(20.0)
    assert slots.allowed == 1


def test_never_more_than_allowed_in_the_order_of_asking():
    async def run():
        slots, order, most = Slots(3), [], 0

        async def one(number):
            nonlocal most
            async with slots:
                most = max(most, slots.used)
                order.append(number)
                if number == 2:
                    slots.refused(0.0)  # 3 are on the way: 2 are allowed from now on
                await asyncio.sleep(0.01)
                assert number < 3 or slots.used <= 2

        await asyncio.gather(*(one(number) for number in range(9)))
        assert order == list(range(9)) and most == 3 and slots.used == 0

    asyncio.run(run())


def test_one_that_gives_up_waiting_holds_nothing():
    async def run():
        slots = Slots(1)
        async with slots:
            waiting = asyncio.create_task(slots.__aenter__())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        async with asyncio.timeout(1), slots:
            assert slots.used == 1
        # Cancelled at the moment when its turn has come.
        async with slots:
            waiting = asyncio.create_task(slots.__aenter__())
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert slots.used == 0

    asyncio.run(run())
