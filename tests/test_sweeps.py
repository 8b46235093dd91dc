"""A sweep keeps every finished point, computes none twice, and says what failed."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtheory.sweeps import (
    SweepError,
    parameter_grid,
    point_rng,
    read_records,
    run_sweep,
)

ROOT = Path(__file__).resolve().parent.parent


def square(x):
    return {"square": x * x}


def draw(x, rng):
    return x + rng.random()


def process_id(x):
    time.sleep(0.05)
    return os.getpid()


def fail_at_odd(x):
    if x % 2:
        raise ValueError(f"odd\nnumber {x}")
    return x


def sweep(function, points, **options):
    """Run a sweep without a progress bar."""
    return run_sweep(function, points, **({"progress": False, "version": "1"} | options))


def lines_of(path):
    """Return the lines of a file of results."""
    return path.read_bytes().split(b"\n")


# --- Unit ---------------------------------------------------------------------------------------


def test_grid_has_every_combination_and_the_last_name_changes_fastest():
    assert parameter_grid(a=[1, 2], b="xy") == [
        {"a": 1, "b": "x"},
        {"a": 1, "b": "y"},
        {"a": 2, "b": "x"},
        {"a": 2, "b": "y"},
    ]


def test_grid_without_values_is_refused():
    with pytest.raises(ValueError, match=r"`b` must be a sequence with at least one value"):
        parameter_grid(a=[1], b=[])


def test_results_come_in_the_order_of_the_points():
    result = sweep(square, parameter_grid(x=[3, 1, 2]))
    assert [entry["square"] for entry in result.results] == [9, 1, 4]
    assert result.parameters == ({"x": 3}, {"x": 1}, {"x": 2})
    assert (result.num_reused, result.num_computed, result.failures) == (0, 3, ())


def test_sweep_of_nothing():
    assert sweep(square, []).results == ()


def test_second_run_computes_nothing(tmp_path):
    path = tmp_path / "results.jsonl"
    first = sweep(square, parameter_grid(x=range(4)), path=path)
    before = path.read_bytes()
    second = sweep(square, parameter_grid(x=range(4)), path=path)
    assert (second.num_reused, second.num_computed) == (4, 0)
    assert second.results == first.results
    assert path.read_bytes() == before


def test_a_larger_grid_computes_what_is_new(tmp_path):
    path = tmp_path / "results.jsonl"
    sweep(square, parameter_grid(x=[1, 2]), path=path)
    result = sweep(square, parameter_grid(x=[0, 1, 2, 3]), path=path)
    assert (result.num_reused, result.num_computed) == (2, 2)
    assert [entry["square"] for entry in result.results] == [0, 1, 4, 9]


def test_order_of_names_and_kind_of_sequence_do_not_make_a_new_point(tmp_path):
    path = tmp_path / "results.jsonl"
    sweep(lambda a, b: 1, [{"a": 1, "b": (1, 2)}], path=path)
    result = sweep(lambda b, a: 1, [{"b": [1, 2], "a": np.int64(1)}], path=path)
    assert result.num_reused == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"version": "2"}, id="version"),
        pytest.param({"function": fail_at_odd}, id="function"),
        pytest.param({"points": [{"x": 2.0}]}, id="real-for-integer"),
    ],
)
def test_another_version_or_function_or_value_is_another_point(tmp_path, change):
    path = tmp_path / "results.jsonl"
    sweep(square, [{"x": 2}], path=path)
    options = {"function": square, "points": [{"x": 2}], "path": path} | change
    assert sweep(**options).num_computed == 1
    # What was there stays, and is found again.
    assert sweep(square, [{"x": 2}], path=path).num_reused == 1


def test_another_seed_is_another_point(tmp_path):
    path = tmp_path / "results.jsonl"
    results = [sweep(draw, [{"x": 1}], path=path, seed=seed).results[0] for seed in (1, 2, 1)]
    assert results[0] == results[2] != results[1]
    assert len(read_records(path)) == 2


def test_version_left_out_is_that_of_the_source(tmp_path):
    path = tmp_path / "results.jsonl"
    run_sweep(square, [{"x": 2}], path=path, progress=False)
    assert run_sweep(square, [{"x": 2}], path=path, progress=False).num_reused == 1
    (record,) = read_records(path)
    assert record.version.startswith("source ")
    assert record.function.endswith("square")


def test_version_is_asked_for_where_there_is_no_source():
    namespace = {}
    exec("def made(x): return x", namespace)
    with pytest.raises(ValueError, match=r"`version` must be given for a function whose source"):
        run_sweep(namespace["made"], [{"x": 1}], progress=False)


def test_a_point_has_its_own_randomness_wherever_it_stands():
    alone = sweep(draw, [{"x": 5}], seed=3).results[0]
    among = sweep(draw, parameter_grid(x=[9, 5, 1]), seed=3).results
    assert among[1] == alone
    assert len({value - x for value, x in zip(among, (9, 5, 1), strict=True)}) == 3
    assert alone == 5 + point_rng({"x": 5}, seed=3).random()


def test_numbers_of_numpy_become_plain_numbers():
    result = sweep(
        lambda x: {"a": np.float32(0.5), "b": np.arange(2), "c": (1, math.nan)}, [{"x": 1}]
    )
    (value,) = result.results
    assert value["a"] == 0.5
    assert value["b"] == [0, 1]
    assert math.isnan(value["c"][1])


def test_fresh_and_reused_results_are_equal(tmp_path):
    path = tmp_path / "results.jsonl"
    function = lambda x: {"third": x / 3, "pair": (x, None), "text": "π\n"}  # noqa: E731
    fresh = sweep(function, parameter_grid(x=[1, 2]), path=path)
    assert sweep(function, parameter_grid(x=[1, 2]), path=path).results == fresh.results


def test_failures_are_kept_and_reported_after_the_last_point(tmp_path):
    path = tmp_path / "results.jsonl"
    with pytest.raises(
        SweepError, match=r"2 of 4 points failed: \{'x': 1\}: ValueError: odd num"
    ) as e:
        sweep(fail_at_odd, parameter_grid(x=range(4)), path=path)
    assert [failure.parameters for failure in e.value.failures] == [{"x": 1}, {"x": 3}]
    assert "Traceback" in e.value.failures[0].details
    assert "fail_at_odd" in e.value.failures[0].details
    kept = {record.parameters["x"]: record.error for record in read_records(path)}
    assert kept == {
        0: None,
        1: "ValueError: odd number 1",
        2: None,
        3: "ValueError: odd number 3",
    }


def test_failures_may_be_allowed_and_are_tried_again(tmp_path):
    path = tmp_path / "results.jsonl"
    points = parameter_grid(x=range(3))
    result = sweep(fail_at_odd, points, path=path, allow_failures=True)
    assert result.results == (0, None, 2)
    assert (result.num_reused, result.num_computed, len(result.failures)) == (0, 2, 1)
    again = sweep(fail_at_odd, points, path=path, allow_failures=True)
    assert (again.num_reused, again.num_computed, len(again.failures)) == (2, 0, 1)


def test_a_result_that_json_cannot_hold_is_a_failure_of_its_point():
    result = sweep(lambda x: {1, 2} if x else 0, parameter_grid(x=[0, 1]), allow_failures=True)
    assert result.results == (0, None)
    assert result.failures[0].error == "TypeError: JSON cannot hold set"


def test_progress_is_shown_on_standard_error(capsys):
    sweep(square, parameter_grid(x=range(3)), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3/3" in err


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([{"x": 1}, {"x": 1}], r"`parameters` must be points of which no two are equal"),
        ([{"x": math.nan}], r"`parameters` must be points that JSON can hold"),
        ([{"x": object()}], r"`parameters` must be points that JSON can hold"),
        ([{1: 2}], r"`parameters` must be points whose names are texts"),
        ([3], r"`parameters` must be Mapping, got 3"),
        ({"x": [1, 2]}, r"`parameters` must be a sequence of points, as parameter_grid makes"),
    ],
)
def test_bad_points_are_refused_with_a_sentence(points, message):
    with pytest.raises(ValueError, match=message):
        sweep(square, points)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, r"`seed` must be an integer of at least 0"),
        ({"version": 3}, r"`version` must be str, got 3"),
    ],
)
def test_bad_options_are_refused_with_a_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        sweep(square, [{"x": 1}], **options)


def test_a_module_run_as_a_command_keeps_its_name(tmp_path):
    folder = tmp_path / "tool"
    folder.mkdir()
    code = (
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from qtheory.sweeps import read_records, run_sweep\n"
        "def double(x):\n    return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    run_sweep(double, [{'x': 1}], path='r.jsonl', progress=False)\n"
        "    print(read_records('r.jsonl')[0].function)\n"
    )
    (folder / "work.py").write_text(code)
    command = [sys.executable, "-m", "tool.work"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "tool.work.double\n"


def test_function_without_a_name_is_refused():
    class Callable:
        def __call__(self, x):
            return x

    with pytest.raises(ValueError, match=r"`function` must be a function with a name"):
        sweep(Callable(), [{"x": 1}])


def test_records_of_a_file_that_is_not_there():
    with pytest.raises(FileNotFoundError):
        read_records("no such file")


# --- The file -----------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path):
    """Return the file of a finished sweep of three points."""
    path = tmp_path / "results.jsonl"
    sweep(square, parameter_grid(x=range(3)), path=path)
    return path


def test_every_line_is_one_json_object_that_says_what_it_is(finished):
    *lines, rest = lines_of(finished)
    assert rest == b""
    fields = ["key", "function", "version", "seed", "parameters", "result"]
    assert [list(json.loads(line)) for line in lines] == [fields] * 3


@pytest.mark.parametrize("num_lost", [1, 2, 40, 100])
def test_a_torn_last_line_is_cut_off_and_computed_again(finished, num_lost):
    whole = finished.read_bytes()
    finished.write_bytes(whole[: -1 - num_lost])
    assert len(read_records(finished)) == 2
    result = sweep(square, parameter_grid(x=range(3)), path=finished)
    assert (result.num_reused, result.num_computed) == (2, 1)
    assert finished.read_bytes() == whole


def test_a_last_line_that_lacks_its_end_alone_is_kept(finished):
    whole = finished.read_bytes()
    finished.write_bytes(whole[:-1])
    result = sweep(square, parameter_grid(x=range(3)), path=finished)
    assert (result.num_reused, result.num_computed) == (3, 0)
    assert finished.read_bytes() == whole


def test_zeros_after_the_last_line_are_cut_off(finished):
    whole = finished.read_bytes()
    finished.write_bytes(whole + b"\0" * 64)
    assert sweep(square, parameter_grid(x=range(3)), path=finished).num_reused == 3
    assert finished.read_bytes() == whole


def test_damage_elsewhere_is_refused_and_left_alone(finished):
    lines = lines_of(finished)
    damaged = b"\n".join([lines[0], lines[1][:50], *lines[2:]])
    finished.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"results.jsonl with line 2 damaged"):
        sweep(square, parameter_grid(x=range(3)), path=finished)
    with pytest.raises(ValueError, match=r"line 2 damaged"):
        read_records(finished)
    assert finished.read_bytes() == damaged


def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "thesis.tex"
    path.write_text("\\documentclass{book}\n\\begin{document}\n")
    with pytest.raises(ValueError, match=r"`path` must be a file of sweep results"):
        sweep(square, [{"x": 1}], path=path)
    assert path.read_text().startswith("\\documentclass")


def test_a_result_is_on_file_before_the_next_point_starts(tmp_path):
    path = tmp_path / "results.jsonl"
    result = sweep(lambda x: len(read_records(path)), parameter_grid(x=range(4)), path=path)
    # One point may be under way while the one before it is being written.
    assert all(seen >= x - 1 for x, seen in enumerate(result.results))


def test_two_sweeps_at_once_are_refused(tmp_path):
    path = tmp_path / "results.jsonl"

    def inner(x):
        with pytest.raises(SweepError, match=r"results.jsonl is in use by another sweep"):
            sweep(square, [{"x": 1}], path=path)
        return "refused"

    assert sweep(inner, [{"x": 1}], path=path).results == ("refused",)
    assert len(read_records(path)) == 1
    assert sweep(square, [{"x": 1}], path=path).num_computed == 1


@pytest.mark.property
@given(
    points=st.lists(
        st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5) | st.booleans()),
        max_size=6,
        unique_by=lambda point: json.dumps(point, sort_keys=True),
    ),
    cut=st.integers(0, 400),
)
def test_wherever_a_file_is_cut_the_sweep_ends_with_the_same_results(tmp_path_factory, points, cut):
    path = tmp_path_factory.mktemp("cut") / "results.jsonl"
    whole = sweep(echo, points, path=path)
    content = path.read_bytes()
    path.write_bytes(content[: max(0, len(content) - cut)])
    again = sweep(echo, points, path=path)
    assert again.results == whole.results
    assert again.num_reused + again.num_computed == len(points)
    keys = Counter(record.key for record in read_records(path))
    assert sorted(keys.values()) == [1] * len(points)


def echo(**point):
    return point


# --- Processes ----------------------------------------------------------------------------------

SLOW = """
import sys, time
sys.path.insert(0, {root!r})
from qtheory.sweeps import parameter_grid, run_sweep

def slow(x, rng):
    with open({calls!r}, "a") as calls:
        calls.write(f"{{x}}\\n")
    time.sleep(0.05)
    return [x, rng.random()]

if __name__ == "__main__":
    result = run_sweep(slow, parameter_grid(x=range(30)), path={path!r}, seed=4, version="1",
                       num_jobs={num_jobs}, progress=False)
    print(result.num_reused, result.num_computed, sum(draw for _, draw in result.results))
"""


def wait_for_lines(path, count):
    """Wait until a file has so many whole lines."""
    deadline = time.monotonic() + 60
    while not (path.exists() and path.read_bytes().count(b"\n") >= count):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("num_jobs", [1, 2])
def test_a_killed_sweep_goes_on_with_nothing_lost_and_nothing_twice(tmp_path, num_jobs):
    path, calls = tmp_path / "results.jsonl", tmp_path / "calls.txt"
    script = tmp_path / "script.py"
    script.write_text(
        SLOW.format(root=str(ROOT), calls=str(calls), path=str(path), num_jobs=num_jobs)
    )
    for count in (4, 12):
        running = subprocess.Popen([sys.executable, str(script)])
        wait_for_lines(path, count)
        running.send_signal(signal.SIGKILL)
        running.wait()
    kept = read_records(path)
    assert 12 <= len(kept) < 30
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    num_reused, num_computed, total = done.stdout.split()
    assert (int(num_reused), int(num_computed)) == (len(kept), 30 - len(kept))
    records = read_records(path)
    assert sorted(record.parameters["x"] for record in records) == list(range(30))
    assert records[: len(kept)] == kept
    # The generators of a run that was never interrupted.
    assert float(total) == sum(point_rng({"x": x}, seed=4).random() for x in range(30))
    # What was under way at a kill is computed again, and no more than that.
    assert 30 <= len(calls.read_text().split()) <= 30 + 2 * (2 * num_jobs + 1)


@pytest.mark.slow
def test_a_sweep_in_another_process_is_refused_while_one_runs(tmp_path):
    path = tmp_path / "results.jsonl"
    script = tmp_path / "script.py"
    script.write_text(
        SLOW.format(root=str(ROOT), calls=str(tmp_path / "calls"), path=str(path), num_jobs=1)
    )
    running = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.DEVNULL)
    wait_for_lines(path, 2)
    with pytest.raises(SweepError, match="in use by another sweep"):
        sweep(square, [{"x": 1}], path=path)
    assert running.wait() == 0
    assert len(read_records(path)) == 30


@pytest.mark.slow
def test_several_processes_give_the_same_results_in_the_same_order(tmp_path):
    path = tmp_path / "results.jsonl"
    points = parameter_grid(x=range(12))
    parallel = sweep(process_id, points, path=path, num_jobs=2)
    assert os.getpid() not in set(parallel.results)
    assert sweep(draw, points, seed=1, num_jobs=2).results == sweep(draw, points, seed=1).results
    failing = sweep(fail_at_odd, points, num_jobs=2, allow_failures=True)
    assert failing.results == tuple(None if x % 2 else x for x in range(12))


@pytest.fixture(scope="module")
def cluster():
    """Return a Dask cluster of two worker processes on this machine, with a client."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None
        ) as local,
        distributed.Client(local) as client,
    ):
        client.wait_for_workers(2)
        yield client


@pytest.mark.slow
def test_a_sweep_runs_on_a_dask_cluster(cluster, tmp_path):
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "results.jsonl"
    points = parameter_grid(x=range(16))
    sweep(process_id, points[:5], path=path)
    with joblib.parallel_config(backend="dask"):
        result = sweep(process_id, points, path=path)
        draws = sweep(draw, points, seed=1)
        failing = sweep(fail_at_odd, points, allow_failures=True)
    assert (result.num_reused, result.num_computed) == (5, 11)
    assert set(result.results[:5]) == {os.getpid()}
    workers = set(cluster.run(os.getpid).values())
    assert len(workers) == 2
    assert set(result.results[5:]) == workers
    assert [record.parameters["x"] for record in read_records(path)][:5] == list(range(5))
    assert sorted(record.parameters["x"] for record in read_records(path)) == list(range(16))
    assert draws.results == sweep(draw, points, seed=1).results
    assert len(failing.failures) == 8


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are listed on Linux")
def test_workers_of_a_cluster_do_not_write(cluster, tmp_path):
    joblib = pytest.importorskip("joblib")
    path = tmp_path / "results.jsonl"
    with joblib.parallel_config(backend="dask"):
        # The file is open in this process alone: no worker has its descriptor.
        result = sweep(open_files, parameter_grid(x=range(4), path=[str(path)]), path=path)
    assert result.results == (False,) * 4
    assert len(read_records(path)) == 4


def open_files(x, path):
    folder = Path("/proc/self/fd")
    return any(os.path.realpath(link) == path for link in folder.iterdir())


def die_at_five(x):
    if x == 5:
        time.sleep(1)  # the points before it are finished and kept meanwhile
        os._exit(1)
    return x


@pytest.mark.slow
def test_a_worker_that_dies_ends_the_sweep_and_keeps_what_was_finished(tmp_path):
    path = tmp_path / "results.jsonl"
    points = parameter_grid(x=range(8))
    with pytest.raises(Exception, match="worker process"):
        sweep(die_at_five, points, path=path, num_jobs=2)
    kept = {record.parameters["x"] for record in read_records(path)}
    assert {0, 1, 2} <= kept
    assert 5 not in kept
    rest = [point for point in points if point["x"] != 5]
    result = sweep(die_at_five, rest, path=path, num_jobs=2)
    assert result.results == (0, 1, 2, 3, 4, 6, 7)
    assert result.num_reused == len(kept)


@pytest.mark.slow
def test_an_interrupt_from_the_keyboard_keeps_what_was_finished(tmp_path):
    path, calls = tmp_path / "results.jsonl", tmp_path / "calls.txt"
    script = tmp_path / "script.py"
    script.write_text(SLOW.format(root=str(ROOT), calls=str(calls), path=str(path), num_jobs=1))
    running = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True)
    wait_for_lines(path, 3)
    running.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in running.communicate()[1]
    kept = len(read_records(path))
    assert 3 <= kept < 30
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == [str(kept), str(30 - kept)]
