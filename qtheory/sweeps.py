"""Parameter sweeps that survive an interruption, on one machine or on a Dask cluster.

A sweep calls one function at every point of a list of parameters and appends each finished
result to a file at once. Started again, it computes what is missing and nothing else. Only the
process that started the sweep writes; workers return their results to it.
"""

import hashlib
import inspect
import itertools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qtheory._checks import check_instance, check_integer, fail

__all__ = [
    "SweepError",
    "SweepFailure",
    "SweepRecord",
    "SweepResult",
    "parameter_grid",
    "point_rng",
    "read_records",
    "run_sweep",
]

Point = dict[str, Any]
_FIELDS = ("key", "function", "version", "seed", "parameters")


class SweepError(RuntimeError):
    """A sweep in which points failed, or whose file is in use.

    Parameters
    ----------
    message : str
        What happened, in sentences.
    failures : tuple of SweepFailure
        The failed points; empty if the sweep did not start.
    """

    def __init__(self, message: str, failures: tuple["SweepFailure", ...] = ()) -> None:
        super().__init__(message)
        self.failures = failures


@dataclass(frozen=True)
class SweepFailure:
    """A point at which the function raised an exception.

    Parameters
    ----------
    parameters : dict
        The point.
    error : str
        Kind and message of the exception, in one line.
    details : str
        Its traceback, as text.
    """

    parameters: Point
    error: str
    details: str


@dataclass(frozen=True)
class SweepRecord:
    """One line of a sweep's file.

    Parameters
    ----------
    key : str
        SHA-256 of function, version, seed and parameters, hexadecimal.
    function, version : str
        Name of the function with its module, and the version of its code.
    seed : int or None
        Seed of the sweep.
    parameters : dict
        The point.
    result : object
        What the function returned, as JSON has it; ``None`` if it failed.
    error : str or None
        Kind and message of the exception if it failed.
    """

    key: str
    function: str
    version: str
    seed: int | None
    parameters: Point
    result: Any
    error: str | None


@dataclass(frozen=True)
class SweepResult:
    """Results of a sweep, in the order of its parameters.

    Parameters
    ----------
    parameters : tuple of dict
        The points.
    results : tuple
        One result a point, as JSON has it: lists for tuples and arrays. ``None`` where it failed.
    failures : tuple of SweepFailure
        Points at which the function raised.
    num_reused : int
        Points that were read from the file.
    num_computed : int
        Points that were computed without a failure.
    """

    parameters: tuple[Point, ...]
    results: tuple[Any, ...]
    failures: tuple[SweepFailure, ...]
    num_reused: int
    num_computed: int


@dataclass(frozen=True)
class _Sweep:
    """What makes two points of two runs the same point."""

    function: str
    version: str
    seed: int | None

    def header(self, parameters: Point) -> dict[str, Any]:
        """Return the fields by which a record is known, with their key."""
        fields = {
            "function": self.function,
            "version": self.version,
            "seed": self.seed,
            "parameters": parameters,
        }
        return {"key": hashlib.sha256(_canonical(fields).encode()).hexdigest()} | fields


def parameter_grid(**values: Iterable[Any]) -> list[Point]:
    """Make every combination of the values of several parameters.

    Parameters
    ----------
    **values : iterable
        Values of each parameter by its name.

    Returns
    -------
    list of dict
        One point a combination; the last parameter changes fastest.

    Raises
    ------
    ValueError
        If a parameter has no values.

    Examples
    --------
    >>> parameter_grid(num_levels=[2, 4], depth=[8])
    [{'num_levels': 2, 'depth': 8}, {'num_levels': 4, 'depth': 8}]
    """
    columns = {name: list(column) for name, column in values.items()}
    for name, column in columns.items():
        if not column:
            raise fail(name, "a sequence with at least one value", column)
    return [
        dict(zip(columns, combination, strict=True))
        for combination in itertools.product(*columns.values())
    ]


def point_rng(parameters: Mapping[str, Any], *, seed: int) -> np.random.Generator:
    """Make the generator that a sweep hands to one of its points.

    It depends on the seed and on the parameters of the point, not on the other points, their
    order, or where the point is computed.

    Parameters
    ----------
    parameters : mapping
        The point.
    seed : int
        Seed of the sweep, not below zero.

    Returns
    -------
    numpy.random.Generator
        A new generator.

    Raises
    ------
    ValueError
        If ``seed`` is no such integer, or a parameter cannot be written as JSON.
    """
    number = check_integer("seed", seed, minimum=0)
    digest = hashlib.sha256(_canonical(_plain_point(parameters)).encode()).digest()
    return np.random.default_rng([number, int.from_bytes(digest[:16], "little")])


def run_sweep(
    function: Callable[..., Any],
    parameters: Iterable[Mapping[str, Any]],
    *,
    path: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    version: str | None = None,
    num_jobs: int | None = None,
    progress: bool = True,
    allow_failures: bool = False,
) -> SweepResult:
    """Call a function at every point, keep each result at once, and skip what is kept already.

    Runs through `joblib.Parallel`: in this process by default, in several with ``num_jobs``, and
    on the current Dask cluster inside ``with joblib.parallel_config(backend="dask")``.

    Parameters
    ----------
    function : callable
        Called as ``function(**point)``, or ``function(**point, rng=rng)`` if there is a seed, with
        the generator of `point_rng`. Its result must be something JSON can hold; NumPy numbers
        and arrays become numbers and lists.
    parameters : iterable of mapping
        The points, no two of them equal; values that JSON can hold, finite.
    path : path, optional
        File of results, one JSON object a line. Made if missing, continued if there. Left out,
        results are not kept.
    seed : int, optional
        Seed of the sweep, not below zero.
    version : str, optional
        Version of the function's code. Results of another version are left in the file and not
        used. Left out, it is a hash of the function's source text, without what it calls.
    num_jobs : int, optional
        Number of processes, -1 for all cores; left out, as `joblib` is configured, else one.
    progress : bool
        Whether to show a progress bar on standard error.
    allow_failures : bool
        Whether a sweep with failed points returns; if not, it raises after the last point.

    Returns
    -------
    SweepResult
        Results in the order of ``parameters``, whatever order they were computed in.

    Raises
    ------
    ValueError
        If a point is given twice or cannot be written as JSON, if ``function`` has no name or its
        source cannot be found and ``version`` is left out, or if the file is damaged elsewhere
        than in its last line.
    SweepError
        If points failed, after all others are done and kept; or if another sweep uses the file.
    ImportError
        Without joblib and tqdm.
    Exception
        What `joblib` or Dask raises if a process of theirs dies; what was finished is kept.

    Notes
    -----
    Algorithm: each result is one appended line, followed by a flush to the disk, before the next
    is waited for; a line cut short by an interruption is removed on the next start. A failed point
    is kept as a line too, and tried again on the next start.
    Randomness: `point_rng`.

    Examples
    --------
    >>> def square(x):
    ...     return x * x
    >>> run_sweep(square, parameter_grid(x=[3, 2]), version="1", progress=False).results
    (9, 4)
    """
    points = _plain_points(parameters)
    sweep = _Sweep(_name(function), _version(function, version), _seed(seed))
    keys = [str(sweep.header(point)["key"]) for point in points]
    if len(set(keys)) < len(keys):
        twice = next(point for point, key in zip(points, keys, strict=True) if keys.count(key) > 1)
        raise fail("parameters", "points of which no two are equal", twice)
    with _open_log(path) as log:
        done = {key: log.results[key] for key in keys if key in log.results}
        missing = [(k, p) for k, p in zip(keys, points, strict=True) if k not in done]
        failures = {}
        for key, point, outcome in _compute(
            function, missing, sweep, num_jobs, progress, len(done)
        ):
            log.append(sweep.header(point), outcome)
            if "error" in outcome:
                failures[key] = SweepFailure(point, outcome["error"], outcome["details"])
            else:
                done[key] = json.loads(outcome["result"])
    failed = tuple(failures[key] for key in keys if key in failures)
    if failed and not allow_failures:
        raise SweepError(_summary(failed, len(points)), failed)
    return SweepResult(
        tuple(points),
        tuple(done.get(key) for key in keys),
        failed,
        len(points) - len(missing),
        len(missing) - len(failed),
    )


def read_records(path: str | os.PathLike[str]) -> tuple[SweepRecord, ...]:
    """Read the file of a sweep, which may still be running.

    Parameters
    ----------
    path : path
        File that `run_sweep` wrote.

    Returns
    -------
    tuple of SweepRecord
        Its records in the order in which they were finished; a torn last line is left out.

    Raises
    ------
    ValueError
        If the file is damaged elsewhere than in its last line.
    FileNotFoundError
        If there is none.
    """
    file = Path(path)
    lines, _ = _parse(file, file.read_bytes())
    return tuple(
        SweepRecord(
            key=line["key"],
            function=line["function"],
            version=line["version"],
            seed=line["seed"],
            parameters=line["parameters"],
            result=line.get("result"),
            error=line.get("error"),
        )
        for line in lines
    )


class _Log:
    """Results on file: what is there, and one more at a time. Without a file it keeps nothing."""

    def __init__(self, descriptor: int | None, lines: Sequence[Mapping[str, Any]]) -> None:
        self._descriptor = descriptor
        self.results = {line["key"]: line["result"] for line in lines if "result" in line}

    def append(self, header: Mapping[str, Any], outcome: Mapping[str, str]) -> None:
        """Append one line and wait until it is on the disk."""
        if self._descriptor is None:
            return
        fields = [f"{json.dumps(name)}: {_canonical(value)}" for name, value in header.items()]
        last = "error" if "error" in outcome else "result"
        value = json.dumps(outcome["error"]) if last == "error" else outcome["result"]
        line = "{" + ", ".join([*fields, f'"{last}": {value}']) + "}\n"
        _write_all(self._descriptor, line.encode())
        os.fsync(self._descriptor)


@contextmanager
def _open_log(path: str | os.PathLike[str] | None) -> Iterator[_Log]:
    """Open a file of results for this process alone, cut off a torn line, and close it after."""
    if path is None:
        yield _Log(None, ())
        return
    file = Path(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    descriptor = os.open(file, flags, 0o644)
    try:
        if not _lock(descriptor):
            raise SweepError(f"{file.name} is in use by another sweep.")
        data = file.read_bytes()
        lines, size = _parse(file, data)
        if size < len(data):
            os.ftruncate(descriptor, size)
        if data[:size] and not data[:size].endswith(b"\n"):
            _write_all(descriptor, b"\n")
        os.fsync(descriptor)
        yield _Log(descriptor, lines)
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Take the lock of an open file, which ends with this process; tell whether it was free."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 2**30, os.SEEK_SET)  # a byte that nobody reads or writes
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _parse(file: Path, data: bytes) -> tuple[list[dict[str, Any]], int]:
    """Return the lines of a file, and how many of its bytes they are without a torn last line."""
    lines, size = [], 0
    pieces = data.split(b"\n")
    for number, piece in enumerate(pieces, 1):
        is_last = number == len(pieces)
        record = _record(piece)
        if record is None and is_last:
            break
        if record is None and piece.strip():
            raise fail("path", "a file of sweep results", f"{file.name} with line {number} damaged")
        lines += [] if record is None else [record]
        size += len(piece) + (not is_last)
    return lines, size


def _record(piece: bytes) -> dict[str, Any] | None:
    """Return a line as a record, or nothing if it is none."""
    try:
        record = json.loads(piece)
    except ValueError:
        return None
    if not isinstance(record, dict) or not set(_FIELDS) <= set(record):
        return None
    return record if ("result" in record) != ("error" in record) else None


def _write_all(descriptor: int, data: bytes) -> None:
    """Write bytes to the end, in one call if the system takes them in one."""
    while data:
        data = data[os.write(descriptor, data) :]


def _compute(
    function: Callable[..., Any],
    missing: Sequence[tuple[str, Point]],
    sweep: _Sweep,
    num_jobs: int | None,
    progress: bool,
    num_done: int,
) -> Iterator[tuple[str, Point, dict[str, str]]]:
    """Compute points, in parallel if so configured, and yield each as soon as it is finished."""
    if not missing:
        return
    try:
        from joblib import Parallel, delayed
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("A sweep needs joblib and tqdm: install qtheory[cluster].") from error
    # One point a batch: a finished point must not wait for others before it is kept.
    parallel = Parallel(n_jobs=num_jobs, return_as="generator_unordered", batch_size=1)
    attempts = parallel(
        delayed(_attempt)(function, index, point, sweep.seed)
        for index, (_, point) in enumerate(missing)
    )
    total = num_done + len(missing)
    with tqdm(total=total, initial=num_done, disable=not progress, unit="point") as bar:
        for index, outcome in attempts:
            yield (*missing[index], outcome)
            bar.update()


def _attempt(
    function: Callable[..., Any], index: int, point: Point, seed: int | None
) -> tuple[int, dict[str, str]]:
    """Compute one point, wherever this runs, and return its result as JSON, or its failure."""
    try:
        extra = {} if seed is None else {"rng": point_rng(point, seed=seed)}
        result = function(**point, **extra)
        return index, {"result": json.dumps(result, default=_plain_number)}
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return index, {"error": text, "details": traceback.format_exc()}


def _plain_points(parameters: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Return the points as JSON has them."""
    if isinstance(parameters, Mapping):
        raise fail("parameters", "a sequence of points, as parameter_grid makes", parameters)
    return [_plain_point(point) for point in parameters]


def _plain_point(point: Mapping[str, Any]) -> Point:
    """Return a point as JSON has it: plain numbers, lists in place of tuples."""
    check_instance("parameters", point, Mapping)
    if not all(isinstance(name, str) for name in point):
        raise fail("parameters", "points whose names are texts", point)
    try:
        text = json.dumps(dict(point), default=_plain_number, allow_nan=False)
    except (TypeError, ValueError):
        raise fail("parameters", "points that JSON can hold, with finite numbers", point) from None
    plain: Point = json.loads(text)
    return plain


def _plain_number(value: object) -> object:
    """Return a NumPy number or array as plain numbers."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"JSON cannot hold {type(value).__name__}")


def _canonical(value: object) -> str:
    """Return the one text that stands for a JSON value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _name(function: Callable[..., Any]) -> str:
    """Return the name of a function with its module, which is not ``__main__`` if it has a name."""
    name = getattr(function, "__qualname__", None)
    if name is None:
        raise fail("function", "a function with a name", function)
    spec = getattr(sys.modules.get(function.__module__), "__spec__", None)
    return f"{function.__module__ if spec is None else spec.name}.{name}"


def _version(function: Callable[..., Any], version: str | None) -> str:
    """Return the stated version, or a hash of the function's source text."""
    if version is not None:
        check_instance("version", version, str)
        return version
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        raise fail("version", "given for a function whose source is not on file", None) from None
    return "source " + hashlib.sha256(source.encode()).hexdigest()[:16]


def _seed(seed: int | None) -> int | None:
    """Return a seed as a plain integer."""
    return None if seed is None else check_integer("seed", seed, minimum=0)


def _summary(failures: Sequence[SweepFailure], total: int) -> str:
    """Say how many points failed, and name the first few."""
    shown = "; ".join(f"{failure.parameters}: {failure.error}" for failure in failures[:3])
    more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
    return f"{len(failures)} of {total} points failed: {shown}{more}."
