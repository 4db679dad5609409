"""Programs as text: how often things run and what is sent, in texts small enough to count by hand."""
# ruff: noqa: E501

import pytest

from jaxreason.training.preflight.collectives import DCN, ICI, Traffic, collectives, total
from jaxreason.training.preflight.hlo import elements, parse, runs, size
from jaxreason.training.preflight.traffic import hbm_bytes

NESTED = """HloModule nested

%inner_condition (state: (s32[], f32[4])) -> pred[] {
  %state = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %count = s32[]{:T(128)} get-tuple-element(%state), index=0
  %limit = s32[]{:T(128)} constant(3)
  ROOT %less = pred[]{:T(512)} compare(%count, %limit), direction=LT
}

%inner_body (state.1: (s32[], f32[4])) -> (s32[], f32[4]) {
  %state.1 = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %count.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  %value = f32[4]{0:T(128)} get-tuple-element(%state.1), index=1
  %all-reduce.1 = f32[4]{0:T(128)} all-reduce(%value), channel_id=1, replica_groups={{0,1,2,3}}, to_apply=%add
  ROOT %pair = (s32[]{:T(128)}, f32[4]{0:T(128)}) tuple(%count.1, %all-reduce.1)
}

%outer_condition (state.2: (s32[], f32[4])) -> pred[] {
  %state.2 = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %count.2 = s32[]{:T(128)} get-tuple-element(%state.2), index=0
  %limit.2 = s32[]{:T(128)} constant(OUTER)
  ROOT %less.2 = pred[]{:T(512)} compare(%limit.2, %count.2), direction=GT
}

%outer_body (state.3: (s32[], f32[4])) -> (s32[], f32[4]) {
  %state.3 = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %value.3 = f32[4]{0:T(128)} get-tuple-element(%state.3), index=1
  %begin = (s32[]{:T(128)}, f32[4]{0:T(128)}) tuple(%zero, %value.3)
  ROOT %while.1 = (s32[]{:T(128)}, f32[4]{0:T(128)}) while(%begin), condition=%inner_condition, body=%inner_body
}

ENTRY %main (argument: f32[4]) -> f32[4] {
  %argument = f32[4]{0:T(128)} parameter(0)
  %one = s32[]{:T(128)} constant(1)
  %start = (s32[]{:T(128)}, f32[4]{0:T(128)}) tuple(%one, %argument)
  %while.2 = (s32[]{:T(128)}, f32[4]{0:T(128)}) while(%start), condition=%outer_condition, body=%outer_body
  ROOT %result = f32[4]{0:T(128)} get-tuple-element(%while.2), index=1
}
"""


def entry(*lines, before=""):
    """A module whose entry computation has these lines."""
    body = "\n".join(f"  {line}" for line in lines)
    return parse(f"HloModule m\n\n{before}\n\nENTRY %main (p: f32[8]) -> f32[8] {{\n{body}\n}}\n")


def only(module, devices=4):
    found = collectives(module, devices)
    assert len(found) == 1
    return found[0]


def test_loops_within_loops_multiply_and_counters_may_start_late():
    module = parse(NESTED.replace("OUTER", "6"))
    times = {run.name: run.times for run in runs(module)}
    assert times == {"main": 1, "outer_body": 5, "inner_body": 15}
    # 16 bytes around a ring of 4, twice; 15 times.
    assert only(module) == Traffic("all-reduce", ICI, 15, 15 * 2 * 16 * 3 / 4)


def test_what_the_compiler_knows_comes_first_and_unknown_loops_are_said_to_be():
    text = NESTED.replace("OUTER", "6")
    known = 'body=%inner_body, backend_config={"known_trip_count":{"n":"7"}}'
    assert only(parse(text.replace("body=%inner_body", known))).count == 35
    open_ended = text.replace("%limit = s32[]{:T(128)} constant(3)", "%limit = s32[] copy(%count)")
    found = only(parse(open_ended))
    assert (found.count, found.certain) == (5, False)


@pytest.mark.parametrize(
    ("line", "kind", "sent"),
    [
        (
            "%g = f32[32]{0} all-gather(%p), replica_groups=[1,4]<=[4], dimensions={0}",
            "all-gather",
            96,
        ),
        (
            "%g = (f32[8]{0}, f32[32]{0}) all-gather-start(%p), replica_groups=[1,4]<=[4]",
            "all-gather",
            96,
        ),
        ("%r = bf16[8]{0} all-reduce(%p), replica_groups={{0,1},{2,3}}", "all-reduce", 16),
        ("%s = f32[4]{0} reduce-scatter(%p), replica_groups={{0,1},{2,3}}", "reduce-scatter", 16),
        ("%a = f32[8]{0} all-to-all(%p), replica_groups={{0,1,2,3}}", "all-to-all", 24),
        (
            "%c = (f32[8]{0}, f32[8]{0}, u32[]) collective-permute-start(%p), "
            "source_target_pairs={{0,1},{1,0}}",
            "collective-permute",
            32,
        ),
        (
            "%r = f32[8]{0} all-reduce(%p), replica_groups=mesh['x'=2,'y'=2] {'y'}, to_apply=%add",
            "all-reduce",
            32,
        ),
        ("%r = f32[8]{0} all-reduce(%p), to_apply=%add", "all-reduce", 48),
    ],
)
def test_each_kind_sends_what_a_ring_sends(line, kind, sent):
    found = only(entry("%p = f32[8]{0} parameter(0)", line))
    assert (found.kind, found.network, found.count, found.bytes) == (kind, ICI, 1, sent)


def test_a_collective_spread_over_fusions_counts_once():
    part = (
        "%NAME (q: f32[8]) -> f32[32] {\n  %q.NAME = f32[8]{0} parameter(0)\n"
        "  ROOT %g.NAME = f32[32]{0} all-gather(%q.NAME), replica_groups={{0,1,2,3}}, "
        'frontend_attributes={chain_id="CHAIN"}\n}'
    )
    parts = [("begin", "0"), ("beside", "0"), ("end", "0"), ("other", "1")]
    fusions = "\n\n".join(part.replace("NAME", n).replace("CHAIN", c) for n, c in parts)
    calls = [f"%f.{n} = f32[32]{{0}} fusion(%p), kind=kLoop, calls=%{n}" for n, _ in parts]
    found = only(entry("%p = f32[8]{0} parameter(0)", *calls, before=fusions))
    assert (found.count, found.bytes) == (2, 2 * 96)


def test_a_collective_that_goes_on_beside_a_loop_counts_once():
    part = (
        "%NAME (q: f32[4]) -> f32[16] {\n  %q.NAME = f32[4]{0} parameter(0)\n"
        "  ROOT %g.NAME = f32[16]{0} all-gather(%q.NAME), replica_groups={{0,1,2,3}}, "
        'frontend_attributes={chain_id="0"}\n}\n\n'
    )
    text = NESTED.replace("OUTER", "6").replace(
        "%inner_condition (",
        part.replace("NAME", "begin") + part.replace("NAME", "on") + "%inner_condition (",
        1,
    )
    for line, name in (("%begin = (s32", "begin"), ("%all-reduce.1 = ", "on")):
        call = f"%f.{name} = f32[16]{{0}} fusion(%value), kind=kLoop, calls=%{name}\n  "
        text = text.replace(line, call + line)
    gathers = [x for x in collectives(parse(text), 4) if x.kind == "all-gather"]
    assert [(x.count, x.bytes) for x in gathers] == [(5, 5 * 48)]


def test_a_reduction_of_which_each_keeps_its_part_is_a_reduce_scatter():
    fused = (
        "%all-reduce-scatter.1 (q: f32[8]) -> f32[2] {\n  %q = f32[8]{0} parameter(0)\n"
        "  %r = f32[8]{0} all-reduce(%q), replica_groups={{0,1,2,3}}, to_apply=%add\n"
        "  ROOT %d = f32[2]{0} dynamic-slice(%r, %i), dynamic_slice_sizes={2}\n}"
    )
    call = "%f = f32[2]{0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1"
    found = only(entry("%p = f32[8]{0} parameter(0)", call, before=fused))
    assert (found.kind, found.bytes) == ("reduce-scatter", 24)


def test_what_goes_between_slices_is_told_apart():
    send = (
        "%send.1 = (f32[2,128]{1,0}, u32[], token[]) send(%p, %t), is_host_transfer=true, "
        'frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",'
        '_xla_host_transfer_rendezvous="all-reduce.7_0"}'
    )
    reduce = "%r = f32[8]{0} all-reduce(%p), replica_groups={{0,1,2,3}}"
    found = collectives(entry("%p = f32[8]{0} parameter(0)", send, reduce), 8)
    assert [(x.kind, x.network, x.bytes) for x in found] == [
        ("all-reduce", DCN, 1024),
        ("all-reduce", ICI, 48),
    ]
    assert (total(found, DCN), total(found, ICI)) == (1024, 48)


def test_shapes_have_bytes():
    assert size("(bf16[2,3]{1,0:T(8,128)(2,1)}, /*index=1*/pred[5]{0}, s4[3]{0}, f32[])") == 23
    assert size("token[]") == 0
    nested = "((f32[2]{0}, s32[]), f32[4,4]{1,0:T(8,128)})"
    assert elements(nested) == ["(f32[2]{0}, s32[])", "f32[4,4]{1,0:T(8,128)}"]


def test_memory_traffic_leaves_out_fast_memory_and_counts_slices_as_slices():
    fused = (
        "%slicing (q: f32[100,8], i: s32[]) -> f32[8] {\n"
        "  %q = f32[100,8]{1,0} parameter(0)\n  %i = s32[] parameter(1)\n"
        "  ROOT %d = f32[1,8]{1,0} dynamic-slice(%q, %i, %i), dynamic_slice_sizes={1,8}\n}"
    )
    module = entry(
        "%p = f32[100,8]{1,0} parameter(0)",
        "%i = s32[]{:S(6)} constant(0)",
        "%near = f32[100,8]{1,0:S(1)} copy(%p)",  # reads 3200
        "%row = f32[1,8]{1,0} fusion(%p, %i), kind=kLoop, calls=%slicing",  # 32 and 32
        "%sum = f32[1,8]{1,0} add(%row, %row)",  # 64 and 32
        before=fused,
    )
    assert hbm_bytes(module) == 3200 + 64 + 96
