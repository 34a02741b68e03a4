"""Tests of work in slices of the event loop."""

from __future__ import annotations

import asyncio

from pipeline.heartbeat.connections.time_slice import TimeSlice


def test_work_beyond_a_slice_runs_in_later_turns_in_order():
    async def worked():
        now = [0.0]
        slices = TimeSlice(slice_s=1.0, clock=lambda: now[0])
        done, turns = [], []

        def work(name):
            done.append(name)
            now[0] += 0.4

        for name in range(8):
            slices.run(lambda name=name: work(name))
        while len(done) < 8:
            turns.append(len(done))
            await asyncio.sleep(0)
        return done, turns

    done, turns = asyncio.run(worked())
    assert done == list(range(8))
    assert turns[0] == 3
    assert len(turns) > 1


def test_work_added_by_work_runs_after_it():
    async def worked():
        slices = TimeSlice()
        done = []

        def first():
            slices.run(lambda: done.append("second"))
            done.append("first")

        slices.run(first)
        await asyncio.sleep(0)
        return done

    assert asyncio.run(worked()) == ["first", "second"]
