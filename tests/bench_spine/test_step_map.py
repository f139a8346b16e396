"""The profiler's map: every function that it names is there, and a stack is told by its innermost known function."""

import sys

import pytest

from testkit.bench import step_map
from testkit.bench.profiled import Profiler
from testkit.bench.step_map import CpuStep, Named, code_of, missing, named, package_step, step_of


@pytest.mark.parametrize("entry", list(named()), ids=lambda entry: f"{entry.module}.{entry.name}")
def test_every_named_function_exists_and_is_found_by_its_place(entry: Named) -> None:
    assert step_of(code_of(entry.module, entry.name)) is entry.step


def test_a_name_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(step_map.FUNCTIONS, "spine.leaves", {"leaf_of": CpuStep.LEAVES, "no_such_function": CpuStep.LEAVES})
    assert missing() == ["spine.leaves.no_such_function"]


def test_the_innermost_known_function_names_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {("bench_spine/test_step_map.py", "_outer"): CpuStep.JUDGE, ("bench_spine/test_step_map.py", "_inner"): CpuStep.DEDUPE}
    monkeypatch.setattr(step_map, "_BY_PLACE", places)
    profiler = Profiler()
    assert _outer(profiler, deep=True) is CpuStep.DEDUPE
    assert _outer(profiler, deep=False) is CpuStep.JUDGE


def _outer(profiler: Profiler, *, deep: bool) -> CpuStep:
    return _inner(profiler) if deep else profiler.step(sys._getframe())[0]


def _inner(profiler: Profiler) -> CpuStep:
    return next(profiler.step(sys._getframe()) for _ in range(1))[0]


def test_a_package_has_a_step_where_no_function_is_known() -> None:
    assert package_step("/x/site-packages/aiokafka/consumer/fetcher.py") is CpuStep.FETCH
    assert package_step("/x/site-packages/aiokafka/conn.py") is CpuStep.BUS_CLIENT
    assert package_step("/usr/lib/python3.11/asyncio/streams.py") is CpuStep.LOOP
    assert package_step("/x/site-packages/yaml/scanner.py") is None
