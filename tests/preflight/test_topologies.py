"""TPU slices by name: the arithmetic of the table, and what libtpu says of them."""

import json
import subprocess
import sys

import pytest

from jaxreason.errors import InputError
from jaxreason.sharding.topologies import CHIPS, TOPOLOGIES, topology
from jaxreason.training.flops import device_peak

CHECK = """
import json
from jaxreason.sharding.topologies import TOPOLOGIES, prepare_libtpu, topology_devices
prepare_libtpu()
found = {}
for name in [*TOPOLOGIES, "v5e-16 x 2"]:
    kind, _, slices = name.partition(" x ")
    devices = topology_devices(kind, int(slices or 1))
    hosts = len({(device.process_index) for device in devices})
    found[name] = [len(devices), hosts, devices[0].device_kind]
print(json.dumps(found))
"""


def test_names_count_what_google_counts():
    sizes = {name: (one.chips, one.devices, one.hosts) for name, one in TOPOLOGIES.items()}
    assert sizes["v5e-1"] == sizes["v6e-1"] == (1, 1, 1)
    # Eight chips are one machine, more come four to a machine.
    assert sizes["v5e-8"] == sizes["v6e-8"] == (8, 8, 1)
    assert sizes["v5e-16"] == (16, 16, 4)
    assert sizes["v5e-256"] == sizes["v6e-256"] == (256, 256, 64)
    # Two TensorCores to a chip: one device of v5p, two of tpu7x.
    assert sizes["v5p-16"] == (8, 8, 2)
    assert sizes["v5p-512"] == (256, 256, 64)
    assert sizes["tpu7x-16"] == (8, 16, 2)
    assert TOPOLOGIES["v5p-16"].libtpu_name == "v5p:2x2x2"


def test_slices_wrap_around_from_full_cubes_and_full_rows_on():
    assert TOPOLOGIES["v5p-64"].wraps == (False, False, False)
    assert TOPOLOGIES["v5p-128"].wraps == (True, True, True)
    assert TOPOLOGIES["v5e-128"].wraps == (False, True, False)
    assert TOPOLOGIES["v5e-256"].wraps == (True, True, False)


def test_a_device_sends_over_the_links_that_its_slice_has():
    links = {name: one.ici_links for name, one in TOPOLOGIES.items()}
    assert (links["v5p-8"], links["v5p-16"], links["v5p-128"]) == (2, 3, 6)
    # Ends of a line have one neighbour; rows of 16 close.
    assert (links["v5e-4"], links["v5e-64"], links["v5e-128"], links["v5e-256"]) == (2, 2, 3, 4)
    # Two devices share the links of a chip; within one chip there are none to share.
    assert (links["tpu7x-16"], links["tpu7x-128"], links["tpu7x-2"]) == (1.5, 3, 3)
    assert all(0 < one.ici_links <= one.chip.ici_links for one in TOPOLOGIES.values())


def test_peaks_are_those_that_utilisation_is_measured_against():
    for family, chip in CHIPS.items():
        assert device_peak(chip.kind) == chip.peak_flops, family


def test_unknown_slices_name_those_there_are():
    with pytest.raises(InputError, match=r"topology 'v5p-12' is unknown; .*v5p-8, v5p-16"):
        topology("v5p-12")
    with pytest.raises(InputError, match=r"expected one of v5e-\.\.\., v6e-"):
        topology("h100")


@pytest.mark.tpu_compile
def test_libtpu_knows_every_slice_with_these_chips_and_hosts():
    pytest.importorskip("libtpu")
    ended = subprocess.run(
        [sys.executable, "-c", CHECK], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    both = found.pop("v5e-16 x 2")
    assert both == [32, 8, "TPU v5 lite"]
    expected = {name: [x.devices, x.hosts, x.chip.kind] for name, x in TOPOLOGIES.items()}
    assert found == expected
