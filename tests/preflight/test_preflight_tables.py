"""What people are shown of a preflight."""

import io

from jaxreason.sharding.topologies import GIB, TOPOLOGIES
from jaxreason.training.preflight.analysis import Estimate, Report, estimate
from jaxreason.training.preflight.collectives import DCN, ICI, Traffic
from jaxreason.training.preflight.run import Preflight
from jaxreason.training.preflight.search import Found
from jaxreason.training.preflight.tables import amount, seconds, show, show_search


def report(**changes):
    traffic = [Traffic("all-gather", ICI, 3, 6e9), Traffic("all-reduce", DCN, 1, 3e9, False)]
    fields = {
        "fits": True,
        "memory": {"parameters": GIB, "activations and temporaries": 300 * 2**20},
        "needed": GIB + 300 * 2**20,
        "available": 16 * GIB,
        "flops": 8 * 459e12,
        "traffic": traffic,
        "hbm_traffic": 2765e9 / 2,
    } | changes
    found = Report("training step", 1.0, **fields)
    found.estimate = estimate(found, TOPOLOGIES["v5p-16"], 8)
    return found


def shown(*reports):
    text = io.StringIO()
    show(Preflight(TOPOLOGIES["v5p-16"], 2, {"replica": 2, "fsdp": 8}, list(reports)), text)
    return " ".join(text.getvalue().split())


def test_the_roofline_takes_the_slowest_resource():
    found = report().estimate
    # 8 devices at their peak for a second; half a second of memory; 3 links of 100 GB/s.
    assert (found.compute, found.hbm, found.ici) == (1.0, 0.5, 0.02)
    assert (found.dcn, found.bound, found.seconds) == (0.48, "compute", 1.0)
    assert Estimate(1.0, 4.0, 0.0, 0.0, model=1.0).mfu == 0.25
    assert Estimate(1.0, 4.0, 0.0, 0.0).mfu is None


def test_recomputed_products_take_time_and_lower_utilisation():
    found = report(executed_flops=1.25 * 459e12).estimate
    assert (found.compute, found.bound, found.seconds, found.mfu) == (1.25, "compute", 1.25, 0.8)


def test_a_loop_without_a_bound_makes_the_estimate_a_least_one():
    text = shown(report(certain=False))
    assert "(roofline, nothing was run): at least 1.00 s a call" in text
    assert "MFU at most 100 %" in text
    assert "run): 1.00 s a call" in shown(report(certain=True))


def test_verdict_memory_and_estimate_are_shown():
    text = shown(report())
    assert "2 x v5p-16: 16 chips, 4 hosts, 16 devices of 95.74 GiB; mesh replica=2 x fsdp=8" in text
    for part in (
        "parameters │ 1.00 GiB",
        "temporaries │ 0.29 GiB",
        "all-gather │ ICI │ 3 │ 5.59 GiB",
    ):
        assert part in text
    assert "at least 2.79 GiB" in text  # a loop without a bound counted once
    assert "estimate (roofline, nothing was run): 1.00 s a call, bound by compute" in text
    assert text.endswith("fits")


def test_refusals_quote_the_compiler():
    refused = report(fits=False, refusal="Ran out of memory on HBM.", needed=None)
    text = shown(refused)
    assert "does not fit 16.00 GiB │ unknown" in text
    assert "the compiler: Ran out of memory on HBM." in text
    assert text.endswith("does not fit")


def test_a_search_names_the_options_of_the_best():
    slow, fast = report(hbm_traffic=27650e9), report()
    found = [
        Found("none", 8, 1.0, "--model.remat none --batch.batch-size 8", slow, 2),
        Found("full", 8, 1.0, "--model.remat full --batch.batch-size 8", fast, 1),
    ]
    text = io.StringIO()
    show_search(found, text)
    assert text.getvalue().strip().endswith("--model.remat full --batch.batch-size 8")
    text = io.StringIO()
    show_search([Found("full", 0, 0.0, "", report(fits=False), 1)], text)
    assert "even the smallest batch does not fit" in text.getvalue()


def test_amounts_have_units_that_suit_them():
    assert [amount(x) for x in (GIB, GIB // 2, 2**20, 512)] == [
        *("1.00 GiB", "0.50 GiB", "1.00 MiB", "0.5 KiB"),
    ]
    assert [seconds(x) for x in (2.0, 0.02, 2e-5)] == ["2.00 s", "20.00 ms", "20 us"]
