"""launch/gke: valid objects, the right ends of a run, and an environment that JAX understands."""

import copy
import math
import re
import sys
from types import SimpleNamespace

import kubernetes_validate
import pytest
import yaml
from jax._src.clusters import ClusterEnv, cloud_tpu_cluster
from jax._src.clusters.k8s_cluster import K8sCluster
from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet
from kubernetes_stand_in import (
    GKE,
    Api,
    gke_tpu_environment,
    load,
    outcome,
    pod_spec,
    processes,
    replicated_job,
    train_container,
)

from jaxreason.sharding.clusters import Layout, find_layout

# One of the versions whose schemas the package has; the objects use nothing newer than 1.31.
KUBERNETES = "1.33"
ACTIONS = {
    "FailJobSet",
    "RestartJobSet",
    "RestartJobSetAndIgnoreMaxRestarts",
    "RestartJob",
    "RestartJobAndIgnoreMaxRestarts",
}
CHIPS_OF_A_HOST = {"tpu-v5p-slice": 4}


@pytest.fixture(params=["gpu.yaml", "tpu.yaml"])
def jobset(request):
    (found,) = load(request.param)
    return found


def jobset_errors(jobset):
    """What the model of JobSet's v1alpha2 schema does not take over as it stands."""
    kept = JobsetV1alpha2JobSet.from_dict(copy.deepcopy(jobset)).to_dict()
    return [] if kept == jobset else [key for key in jobset["spec"] if kept != jobset]


def test_jobsets_follow_the_schema(jobset):
    assert jobset["apiVersion"] == "jobset.x-k8s.io/v1alpha2"
    assert jobset["kind"] == "JobSet"
    assert jobset_errors(jobset) == []
    policy = jobset["spec"]["failurePolicy"]
    assert {rule["action"] for rule in policy["rules"]} <= ACTIONS
    assert policy["restartStrategy"] in ("Recreate", "BlockingRecreate", "InPlaceRestart")


def test_a_misspelt_field_is_noticed(jobset):
    jobset["spec"]["failurePolicy"]["maxRestart"] = 3
    assert jobset_errors(jobset)


def test_with_the_label_of_kueue_they_are_valid_too():
    for name in ("gpu.yaml", "tpu.yaml"):
        text, count = re.subn(
            r"^  # (labels: .*) # with Kueue$", r"  \1", (GKE / name).read_text(), flags=re.M
        )
        assert count == 1
        jobset = yaml.safe_load(text)
        assert jobset_errors(jobset) == []
        assert jobset["metadata"]["labels"] == {"kueue.x-k8s.io/queue-name": "training"}


def test_their_jobs_are_kubernetes_jobs(jobset):
    template = replicated_job(jobset)["template"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}} | template
    kubernetes_validate.validate(job, KUBERNETES, strict=True)
    # What the server checks beyond the schema.
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == spec["completions"]  # all processes at once, or none moves
    assert pod_spec(jobset)["restartPolicy"] == "Never"  # required by podFailurePolicy
    names = {container["name"] for container in pod_spec(jobset)["containers"]}
    for rule in spec["podFailurePolicy"]["rules"]:
        assert rule["onExitCodes"]["containerName"] in names
        assert rule["onExitCodes"]["values"] == sorted(set(rule["onExitCodes"]["values"]))
    volumes = {volume["name"] for volume in pod_spec(jobset).get("volumes", [])}
    assert {m["name"] for m in train_container(jobset).get("volumeMounts", [])} == volumes


def test_access_objects_are_valid():
    for thing in load("access.yaml"):
        kubernetes_validate.validate(thing, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    ("code", "action"),
    [
        (1, "FailJobSet"),
        (2, "FailJobSet"),
        (42, "RestartJobSet"),
        (43, "RestartJobSet"),
        (134, "RestartJobSet"),
        (137, "RestartJobSet"),
        (143, "RestartJobSet"),
    ],
)
def test_an_exit_code_ends_the_run_or_starts_all_of_it_again(jobset, code, action):
    assert outcome(jobset, code) == action


def test_there_is_time_to_save(jobset):
    assert pod_spec(jobset)["terminationGracePeriodSeconds"] >= 120


def enter_pod(jobset, process, monkeypatch, api):
    """This process looks to JAX like that pod."""
    client = SimpleNamespace(
        CoreV1Api=lambda: api,
        BatchV1Api=lambda: api,
        exceptions=SimpleNamespace(ApiException=ConnectionError),
    )
    config = SimpleNamespace(load_incluster_config=lambda: None)
    monkeypatch.setitem(sys.modules, "kubernetes", SimpleNamespace(client=client, config=config))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("HOSTNAME", process.host.split(".")[0])
    monkeypatch.setenv("JOB_COMPLETION_INDEX", str(process.index))
    hosts = {other.host: other.address for other in processes(jobset)}
    own = {other.host.split(".")[0]: other.address for other in processes(jobset)}
    monkeypatch.setattr("socket.gethostbyname", lambda name: (hosts | own)[name])
    # JAX's class remembers its pod; every process has a class of its own.
    monkeypatch.setattr(ClusterEnv, "_cluster_types", list(ClusterEnv._cluster_types))
    ClusterEnv._cluster_types.remove(K8sCluster)
    type("K8sCluster", (K8sCluster,), {"_namespace": classmethod(lambda cls: "default")})


def test_on_gpu_nodes_the_processes_find_each_other_with_the_rights_they_have(monkeypatch):
    (jobset,) = load("gpu.yaml")
    api = Api(jobset)
    layouts = []
    for process in processes(jobset):
        with monkeypatch.context() as patch:
            enter_pod(jobset, process, patch, api)
            layouts.append(find_layout(timeout=0))
    count = len(layouts)
    assert count > 1
    where = "jaxreason-worker-0-0.jaxreason:55527"
    # No devices are named: a process drives all GPUs of its node.
    assert layouts == [Layout(where, count, i, "Kubernetes", None) for i in range(count)]
    account, role, binding = load("access.yaml")
    granted = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == api.asked
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert [subject["name"] for subject in binding["subjects"]] == [account["metadata"]["name"]]


def test_pods_have_the_account_and_the_network_that_this_needs(jobset):
    account = load("access.yaml")[0]
    assert pod_spec(jobset)["serviceAccountName"] == account["metadata"]["name"]
    if "nvidia.com/gpu" in train_container(jobset)["resources"]["limits"]:
        # With the node's address JAX would find the node's other pods, too.
        assert not pod_spec(jobset).get("hostNetwork")


@pytest.mark.parametrize("slices", [1, 3])
def test_on_tpu_slices_the_processes_find_each_other(slices, monkeypatch):
    (jobset,) = load("tpu.yaml")
    replicated_job(jobset)["replicas"] = slices
    monkeypatch.setattr(cloud_tpu_cluster, "running_in_cloud_tpu_vm", True)
    monkeypatch.setattr("socket.gethostbyname", lambda name: "10.0.0.1")
    # With one slice JAX asks the metadata server for what the environment lacks.
    monkeypatch.setattr(cloud_tpu_cluster, "get_metadata", lambda key: ("", 200))
    everybody, layouts = processes(jobset), []
    for process in everybody:
        with monkeypatch.context() as patch:
            for name, value in gke_tpu_environment(jobset, process).items():
                patch.setenv(name, value)
            layouts.append(find_layout(timeout=10))
    where, count = "jaxreason-slice-0-0.jaxreason:8482", len(everybody)
    assert count == 2 * slices
    assert layouts == [Layout(where, count, i, "Cloud TPU on GKE", None) for i in range(count)]


def test_the_hosts_of_a_slice_have_all_of_its_chips():
    (jobset,) = load("tpu.yaml")
    chosen = pod_spec(jobset)["nodeSelector"]
    kind = chosen["cloud.google.com/gke-tpu-accelerator"]
    topology = chosen["cloud.google.com/gke-tpu-topology"]
    chips = math.prod(int(side) for side in topology.split("x"))
    hosts = replicated_job(jobset)["template"]["spec"]["parallelism"]
    assert train_container(jobset)["resources"]["limits"] == {
        "google.com/tpu": CHIPS_OF_A_HOST[kind]
    }
    assert chips == hosts * CHIPS_OF_A_HOST[kind]
    exclusive = "alpha.jobset.sigs.k8s.io/exclusive-topology"
    assert jobset["metadata"]["annotations"] == {exclusive: "cloud.google.com/gke-nodepool"}
