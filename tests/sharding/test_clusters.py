"""Which processes a run has, from flags, variables, and the clusters JAX knows, with no network."""

import pytest

from jaxreason.errors import FailureError, InputError
from jaxreason.sharding.clusters import find_layout, is_loopback

CLUSTERS = (
    *("SLURM", "OMPI", "SKYPILOT", "TPU", "KUBERNETES", "MEGASCALE", "JAXREASON", "JOB_COMPLETION"),
    *("CUDA_VISIBLE", "JAX_COORDINATOR"),
)
SLURM = {
    "SLURM_JOB_ID": "5",
    "SLURM_STEP_NODELIST": "node[003-004,007]",
    "SLURM_NTASKS": "6",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_NODES": "3",
}
OMPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}
SKYPILOT = {
    "SKYPILOT_NUM_NODES": "2",
    "SKYPILOT_NODE_RANK": "1",
    "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.9\n",
}


@pytest.fixture
def surroundings(monkeypatch):
    """Sets the variables of a cluster and nothing else of one."""
    import os

    for name in list(os.environ):
        if name.startswith(CLUSTERS):
            monkeypatch.delenv(name)

    def surround(variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return surround


def test_a_laptop_has_one_process(surroundings):
    assert find_layout() is None


def test_flags_win_over_variables_and_clusters(surroundings):
    surroundings({**SLURM, "JAXREASON_COORDINATOR": "a:1", "JAXREASON_PROCESSES": "9"})
    layout = find_layout("host:1234", 3, 2)
    assert layout[:4] == ("host:1234", 3, 2, "flags")


def test_variables_win_over_clusters(surroundings):
    surroundings(SLURM)
    surroundings({"JAXREASON_COORDINATOR": "host:1234", "JAXREASON_PROCESSES": "2"})
    surroundings({"JAXREASON_PROCESS": "1"})
    assert find_layout()[:4] == ("host:1234", 2, 1, "JAXREASON variables")


def test_one_process_turns_detection_off(surroundings):
    surroundings(SLURM)
    assert find_layout(processes=1) is None


def test_slurm(surroundings):
    surroundings(SLURM)
    layout = find_layout()
    port = 5 % 4096 + 65535 - 4096 + 1
    assert layout == (f"node003:{port}", 6, 4, "Slurm", (1,))


@pytest.mark.parametrize(
    "variables",
    [
        {"SLURM_NTASKS": "3", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"},
        {"CUDA_VISIBLE_DEVICES": "1"},
    ],
)
def test_a_process_alone_on_its_host_or_with_its_own_gpu_takes_all_it_sees(surroundings, variables):
    surroundings({**SLURM, **variables})
    assert find_layout().local_devices is None


def test_a_slurm_job_of_one_task_is_one_process(surroundings):
    surroundings({**SLURM, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"})
    assert find_layout() is None


def test_open_mpi(surroundings):
    surroundings(OMPI)
    layout = find_layout()
    assert layout.coordinator.startswith("10.96.0.1:")
    assert layout[1:] == (4, 3, "Open MPI", (1,))


def test_skypilot(surroundings):
    surroundings(SKYPILOT)
    assert find_layout()[:4] == ("10.0.0.7:8476", 2, 1, "SkyPilot")
    surroundings({"SKYPILOT_NUM_NODES": "1", "SKYPILOT_NODE_RANK": "0"})
    assert find_layout() is None
    surroundings({"SKYPILOT_NUM_NODES": "3"})
    with pytest.raises(InputError, match="SKYPILOT_NODE_IPS has 2 addresses"):
        find_layout()


def test_cloud_tpu_on_gke(surroundings, monkeypatch):
    from jax._src.clusters import cloud_tpu_cluster

    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", lambda key: ("", 404))
    surroundings({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2", "TPU_WORKER_ID": "1"})
    assert find_layout() == ("10.0.0.1:8482", 2, 1, "Cloud TPU on GKE", None)
    surroundings({"TPU_WORKER_HOSTNAMES": "10.0.0.1", "TPU_WORKER_ID": "0"})
    assert find_layout() is None


def test_cloud_tpu_machines(surroundings, monkeypatch):
    from jax._src.clusters import cloud_tpu_cluster

    known = {
        "agent-worker-number": "1",
        "worker-network-endpoints": "a:b:10.0.0.1,a:b:10.0.0.2",
        "tpu-env": "",
    }
    monkeypatch.delenv("TPU_SKIP_MDS_QUERY", raising=False)
    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", lambda key: (known[key], 200))
    assert find_layout() == ("10.0.0.1:8482", 2, 1, "Cloud TPU", None)
    surroundings({**SKYPILOT, "SKYPILOT_NODE_RANK": "0"})
    assert find_layout() == ("10.0.0.1:8482", 2, 1, "Cloud TPU", None), "the TPU's own numbers"
    known["worker-network-endpoints"] = "a:b:10.0.0.1"
    assert find_layout()[:4] == ("10.0.0.7:8476", 2, 0, "SkyPilot"), "nodes of a TPU each"


def test_a_pod_of_an_indexed_job_needs_to_ask_for_the_others(surroundings, monkeypatch):
    surroundings({"KUBERNETES_SERVICE_HOST": "10.0.0.1"})
    assert find_layout() is None, "a pod that is no job's is on its own"
    monkeypatch.setitem(__import__("sys").modules, "kubernetes", None)
    surroundings({"JOB_COMPLETION_INDEX": "0"})
    with pytest.raises(InputError, match="only the package `kubernetes` can ask"):
        find_layout()


def test_a_cluster_that_cannot_be_asked_is_a_failure_with_its_remedy(surroundings):
    surroundings({**SLURM, "SLURM_PROCID": "none"})
    with pytest.raises(FailureError, match=r"Slurm cannot say .* give --coordinator"):
        find_layout()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("host:1", None, None), "--coordinator without --processes, --process"),
        ((None, 2, None), "--processes without --coordinator, --process"),
        (("host:1", 2, 2), "--process is 2, but --processes is 2"),
        (("host:1", 0, 0), "--processes is 0; it must be at least 1"),
        (("host:1", 2, -1), "--process is -1; it must be at least 0"),
        (("host", 2, 0), "expected HOST:PORT"),
        (("host:port", 2, 0), "expected HOST:PORT"),
        (("host:70000", 2, 0), "expected HOST:PORT"),
    ],
)
def test_bad_values_are_refused_by_name(surroundings, given, message):
    with pytest.raises(InputError, match=message):
        find_layout(*given)


def test_bad_variables_are_refused_by_their_own_names(surroundings):
    surroundings({"JAXREASON_PROCESSES": "1", "JAXREASON_PROCESS": "x"})
    with pytest.raises(InputError, match="JAXREASON_PROCESS is 'x'; expected a whole number"):
        find_layout()
    surroundings({"JAXREASON_COORDINATOR": "host:1", "JAXREASON_PROCESSES": "two"})
    with pytest.raises(InputError, match="JAXREASON_PROCESSES is 'two'; expected a whole number"):
        find_layout()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.1.1", "[::1]"])
@pytest.mark.parametrize(
    ("variables", "several"),
    [
        ({"SLURM_JOB_NUM_NODES": "2"}, True),
        ({"SKYPILOT_NUM_NODES": "4"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        (OMPI, True),
        ({"SLURM_JOB_NUM_NODES": "1"}, False),
        ({"TPU_PROCESS_ADDRESSES": "a:1,a:2"}, False),
        ({}, False),
    ],
)
def test_loopback_is_refused_on_several_hosts_only(surroundings, host, variables, several):
    surroundings(variables)
    assert is_loopback(host)
    if several:
        with pytest.raises(InputError, match="is another machine on every host"):
            find_layout(f"{host}:1234", 2, 0)
    else:
        assert find_layout(f"{host}:1234", 2, 0).processes == 2
