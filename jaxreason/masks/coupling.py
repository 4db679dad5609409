"""Whether an optimizer treats every entry on its own, read off its traced program.

Every value of the program is uniform (all entries equal: counters, learning rates), or belongs to
one parameter (entry i depends on entry i of that parameter, its gradient and its moments), or is
coupled. Only operations that work entry by entry keep values apart; sums, products of matrices,
sorting, reshaping, random numbers, and any operation not listed here couple them.
"""

import linecache
import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.extend.core import ClosedJaxpr, Literal

_ELEMENTWISE_NAMES = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh bitcast_convert_type
    cbrt ceil clamp complex
    conj convert_element_type copy copy_p cos cosh digamma div eq erf erf_inv erfc exp
    exp2 expm1 floor ge gt imag integer_pow is_finite le lgamma log log1p logistic lt
    max min mul ne neg nextafter not optimization_barrier or population_count pow pvary
    real reduce_precision rem round rsqrt select_n sharding_constraint shift_left
    shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient
    sub tan tanh xor
"""
ELEMENTWISE = frozenset(_ELEMENTWISE_NAMES.split())
_LAYOUT_NAMES = "broadcast_in_dim copy copy_p expand_dims reshape squeeze transpose"
LAYOUT = frozenset(_LAYOUT_NAMES.split())
_JAX = str(Path(jax.__file__).parent)
_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")


class Coupled(NamedTuple):
    """A value that mixes entries; `reason` says which operation did it first."""

    reason: str


class _Labels:
    """Which parameter a value belongs to; labels of state arrays are found out as they are used."""

    def __init__(self) -> None:
        self.parents: list[int] = []

    def new(self) -> int:
        self.parents.append(len(self.parents))
        return len(self.parents) - 1

    def find(self, label: int) -> int:
        while self.parents[label] != label:
            label = self.parents[label]
        return label

    def join(self, first: Any, second: Any, fixed: int, reason: str) -> Any:
        """The class of a value made of two; `fixed` labels are those of the parameters."""
        for value in (first, second):
            if isinstance(value, Coupled):
                return value
        if first is None or second is None:
            return second if first is None else first
        low, high = sorted((self.find(first), self.find(second)))
        if low != high and high < fixed:
            return Coupled(reason)
        self.parents[high] = low
        return low


class _Analysis:
    def __init__(self, parameters: int):
        self.labels = _Labels()
        self.parameters = parameters
        for _ in range(parameters):
            self.labels.new()

    def join(self, values: list[Any], reason: str) -> Any:
        result = None
        for value in values:
            result = self.labels.join(result, value, self.parameters, reason)
        return result

    def run(self, jaxpr: Any, consts: list[Any], inputs: list[Any], where: str) -> list[Any]:
        known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
        known.update(zip(jaxpr.invars, inputs, strict=True))

        def read(atom: Any) -> Any:
            return _constant(atom.val) if isinstance(atom, Literal) else known[atom]

        for equation in jaxpr.eqns:
            outputs = self.step(equation, [read(atom) for atom in equation.invars], where)
            known.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def step(self, equation: Any, values: list[Any], where: str) -> list[Any]:
        name, params = equation.primitive.name, equation.params
        place = where or _transform(equation)
        if name == "cond":
            return self._cond(params["branches"], values, where)
        if name in ("while", "scan"):
            return self._loop(equation, values, place)
        inner = next((params[key] for key in _INNER if key in params), None)
        if inner is not None:
            return self._call(inner, values, place)
        reason = f"{place} ({name})"
        if name in ELEMENTWISE:
            return self._elementwise(equation, values, reason)
        uniform = all(value is None for value in values)
        kept = all(atom.aval.shape == equation.outvars[0].aval.shape for atom in equation.invars)
        if name in LAYOUT and (uniform or kept):
            return [self.join(values, reason)]
        scalars = all(not variable.aval.shape for variable in equation.outvars)
        result = self.join([v for v in values if isinstance(v, Coupled)], reason)
        return [None if uniform and scalars else result or Coupled(reason)] * len(equation.outvars)

    def _call(self, inner: Any, values: list[Any], where: str) -> list[Any]:
        closed = _is_closed(inner)
        jaxpr = inner.jaxpr if closed else inner
        consts = [_constant(value) for value in inner.consts] if closed else []
        return self.run(jaxpr, consts, values, where)

    def _elementwise(self, equation: Any, values: list[Any], reason: str) -> list[Any]:
        results = []
        many = len(equation.outvars) > 1
        for place, output in enumerate(equation.outvars):
            used = [place] if many else range(len(values))
            atoms = [(equation.invars[i], values[i]) for i in used]
            # A scalar parameter spread over another one's entries is no longer entry by entry.
            spread = any(v is not None and a.aval.shape != output.aval.shape for a, v in atoms)
            result = self.join([value for _, value in atoms], reason)
            results.append(result if not spread or isinstance(result, Coupled) else Coupled(reason))
        return results

    def _cond(self, branches: Any, values: list[Any], where: str) -> list[Any]:
        reason = f"{where or 'a condition'} (cond)"
        choice, *operands = values
        outcomes = [self._call(branch, operands, where) for branch in branches]
        joined = [self.join(list(each), reason) for each in zip(*outcomes, strict=True)]
        if choice is None:
            return joined
        return [choice if isinstance(choice, Coupled) else Coupled(reason)] * len(joined)

    def _loop(self, equation: Any, values: list[Any], where: str) -> list[Any]:
        params, reason = equation.params, f"{where} ({equation.primitive.name})"
        if equation.primitive.name == "scan":
            body = params["jaxpr"]
            fixed, carried = _scan_counts(equation, body.jaxpr if _is_closed(body) else body)
            consts = values[:fixed]
            carry, rows = values[fixed : fixed + carried], values[fixed + carried :]
            test = None
        else:
            first, second = params["cond_nconsts"], params["body_nconsts"]
            body, consts = params["body_jaxpr"], values[first : first + second]
            carry, rows = values[first + second :], []
            test = (params["cond_jaxpr"], values[:first])
        rows = [row if row is None else Coupled(reason) for row in rows]
        for _ in range(len(carry) + 2):
            results = self._call(body, [*consts, *carry, *rows], where)
            new = [
                self.join([a, b], reason) for a, b in zip(carry, results[: len(carry)], strict=True)
            ]
            if new == carry:
                break
            carry = new
        stacked = [row if row is None else Coupled(reason) for row in results[len(carry) :]]
        if test is not None and self._call(test[0], [*test[1], *carry], where)[0] is not None:
            carry = [Coupled(reason)] * len(carry)
        return [*carry, *stacked]


def _is_closed(program: Any) -> bool:
    return isinstance(program, ClosedJaxpr)


def _scan_counts(equation: Any, body: Any) -> tuple[int, int]:
    """How many operands of a scan are constants, how many are carried; the rest has rows."""

    def whole(outer: Any, inner: Any) -> int:
        return sum(a.aval.shape == b.aval.shape for a, b in zip(outer, inner, strict=True))

    carried = whole(equation.outvars, body.outvars)
    return whole(equation.invars, body.invars) - carried, carried


def _constant(value: Any) -> Any:
    if np.ndim(value) == 0:
        return None
    array = np.asarray(value)
    uniform = array.size == 0 or bool((array == array.reshape(-1)[0]).all())
    return None if uniform else Coupled(f"a constant of shape {array.shape}")


def _transform(equation: Any) -> str:
    """Name of the function whose `update` wrote this equation, for the error message."""
    traceback = equation.source_info.traceback
    frames = [f for f in (traceback.frames if traceback else ()) if f.line_num > 0]
    inside = [f for f in frames if not f.file_name.startswith(_JAX)]
    updates = [f for f in inside if f.function_name.split(".")[-1].startswith("update")]
    for frame in updates or inside:
        for line in range(frame.line_num, 0, -1):
            found = re.match(r"(?:def|class) (\w+)", linecache.getline(frame.file_name, line))
            if found:
                return found[1]
    return "the optimizer"


def _trace(inner: optax.GradientTransformation, params: Any) -> tuple[Any, Any, Any]:
    state = jax.eval_shape(inner.init, params)
    program, shapes = jax.make_jaxpr(
        lambda updates, state, params: inner.update(updates, state, params), return_shape=True
    )(params, state, params)
    return program, state, shapes


def find_coupling(inner: optax.GradientTransformation, params: Any) -> str | None:
    """What in `inner` mixes entries of the parameters, or None if nothing does.

    Args:
        inner: the optimizer; its `update` is traced, not run.
        params: shapes and dtypes of the parameters (`jax.ShapeDtypeStruct`).

    Returns:
        The transform and the operation, such as "clip_by_global_norm (reduce_sum)"; None if every
        entry of updates and state depends on the same entry of gradients, parameters and state,
        and on scalars that no parameter has touched.
    """
    program, state, (updates, _) = _trace(inner, params)
    count = len(jax.tree.leaves(params))
    state_leaves = jax.tree.leaves(state)
    if len(jax.tree.leaves(updates)) != count:
        return "the optimizer (it drops updates)"
    scalars: list[Any] = [None if leaf.shape == () else ... for leaf in state_leaves]
    for _ in range(len(state_leaves) + 1):
        analysis = _Analysis(count)
        own = list(range(count))
        entering = [analysis.labels.new() if s is ... else s for s in scalars]
        consts = [_constant(value) for value in program.consts]
        leaving = analysis.run(program.jaxpr, consts, [*own, *entering, *own], "")
        for value in leaving:
            if isinstance(value, Coupled):
                return value.reason
        for label, value in zip([*own, *entering], leaving, strict=True):
            if value is None or label is None:
                continue
            mixed = analysis.join([label, value], "the optimizer (leaves exchange places)")
            if isinstance(mixed, Coupled):
                return mixed.reason
        # A scalar in the state that turned out to belong to a scalar parameter starts as its own.
        settled = [
            analysis.labels.find(after) if before is None and after is not None else before
            for before, after in zip(scalars, leaving[count:], strict=True)
        ]
        if settled == scalars:
            return None
        scalars = settled
    return "the optimizer (its state could not be followed)"


def operations(inner: optax.GradientTransformation, params: Any) -> Counter[Any]:
    """The arithmetic of `inner.update` on these shapes: primitives with their scalar constants."""
    counts: Counter[Any] = Counter()

    def count(jaxpr: Any) -> None:
        for equation in jaxpr.eqns:
            values = jax.tree.leaves(dict(equation.params), is_leaf=_is_program)
            programs = [value for value in values if _is_program(value)]
            for program in programs:
                count(program.jaxpr if isinstance(program, ClosedJaxpr) else program)
            if not programs and equation.primitive.name not in LAYOUT:
                constants = tuple(
                    float(atom.val)
                    for atom in equation.invars
                    if isinstance(atom, Literal) and np.ndim(atom.val) == 0
                )
                counts[equation.primitive.name, constants] += 1

    count(_trace(inner, params)[0].jaxpr)
    return counts


def _is_program(value: Any) -> bool:
    return hasattr(value, "eqns")
