"""What Kubernetes and JobSet make of launch/gke, as far as a run depends on it.

Names, labels and failure handling follow the documentation of the Job controller
(kubernetes.io/docs/concepts/workloads/controllers/job) and of JobSet (jobset.sigs.k8s.io).
"""

from types import SimpleNamespace
from typing import Any, NamedTuple

import yaml
from stand_ins import LAUNCH

GKE = LAUNCH / "gke"


def load(name: str) -> list[dict[str, Any]]:
    """The objects of a file of launch/gke."""
    return list(yaml.safe_load_all((GKE / name).read_text()))


def replicated_job(jobset: dict[str, Any]) -> dict[str, Any]:
    """The only replicated job of a JobSet."""
    (job,) = jobset["spec"]["replicatedJobs"]
    return job


def pod_spec(jobset: dict[str, Any]) -> dict[str, Any]:
    return replicated_job(jobset)["template"]["spec"]["template"]["spec"]


def train_container(jobset: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod_spec(jobset)["containers"]
    return container


class Process(NamedTuple):
    """A pod: its job's index among the replicas, and its completion index."""

    job: str
    replica: int
    index: int
    address: str
    host: str


def processes(jobset: dict[str, Any]) -> list[Process]:
    """The pods of a JobSet in the order of their process numbers."""
    name, job = jobset["metadata"]["name"], replicated_job(jobset)
    assert jobset["spec"]["network"]["enableDNSHostnames"]  # the names below exist only then
    found = []
    for replica in range(job["replicas"]):
        child = f"{name}-{job['name']}-{replica}"
        for index in range(job["template"]["spec"]["completions"]):
            address = f"10.0.{replica}.{index}"
            found.append(Process(child, replica, index, address, f"{child}-{index}.{name}"))
    return found


def gke_tpu_environment(jobset: dict[str, Any], process: Process) -> dict[str, str]:
    """What GKE's webhook adds to a TPU pod's environment."""
    slices: dict[int, list[str]] = {}
    for other in processes(jobset):
        slices.setdefault(other.replica, []).append(other.host)
    environment = {
        "TPU_WORKER_ID": str(process.index),
        "TPU_WORKER_HOSTNAMES": ",".join(slices[process.replica]),
        "TPU_SKIP_MDS_QUERY": "true",
    }
    if len(slices) > 1:
        environment |= {
            "MEGASCALE_COORDINATOR_ADDRESS": slices[0][0],
            "MEGASCALE_NUM_SLICES": str(len(slices)),
            "MEGASCALE_SLICE_ID": str(process.replica),
        }
    return environment


def outcome(jobset: dict[str, Any], code: int) -> str:
    """What happens to the JobSet when one container ends with `code`, which is not 0."""
    job = replicated_job(jobset)["template"]["spec"]
    reason = None
    for rule in job["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes and (code in codes["values"]) == (codes["operator"] == "In"):
            assert rule["action"] == "FailJob"
            reason = "PodFailurePolicy"
            break
    if reason is None:
        assert job["backoffLimit"] == 0  # otherwise one pod is started again alone
        reason = "BackoffLimitExceeded"
    policy = jobset["spec"]["failurePolicy"]
    for rule in policy["rules"]:
        if reason in rule.get("onJobFailureReasons", [reason]):
            return rule["action"]
    return "RestartJobSet" if policy["maxRestarts"] else "FailJobSet"


class Api:
    """The part of the Kubernetes API that JAX asks, and a note of what it asked."""

    def __init__(self, jobset: dict[str, Any]) -> None:
        self.jobset = jobset
        self.asked: set[tuple[str, str, str]] = set()

    def list_namespaced_pod(self, namespace: str, field_selector: str) -> SimpleNamespace:
        """The pods with the address that the selector names."""
        self.asked.add(("", "pods", "list"))
        labels = {"jobset.sigs.k8s.io/jobset-name": self.jobset["metadata"]["name"]}
        pods = [
            SimpleNamespace(
                metadata=SimpleNamespace(
                    name=f"{process.job}-{process.index}-x7k2p",
                    labels=labels | {"job-name": process.job},
                    owner_references=[SimpleNamespace(controller=True, kind="Job")],
                ),
                spec=SimpleNamespace(subdomain=self.jobset["metadata"]["name"]),
            )
            for process in processes(self.jobset)
            if field_selector == f"status.podIP={process.address}"
        ]
        return SimpleNamespace(items=pods)

    def read_namespaced_job(self, name: str, namespace: str) -> SimpleNamespace:
        """A child job of the JobSet."""
        self.asked.add(("batch", "jobs", "get"))
        assert name in {process.job for process in processes(self.jobset)}
        labels = {"jobset.sigs.k8s.io/jobset-name": self.jobset["metadata"]["name"]}
        spec = replicated_job(self.jobset)["template"]["spec"]
        return SimpleNamespace(
            metadata=SimpleNamespace(name=name, labels=labels),
            spec=SimpleNamespace(parallelism=spec["parallelism"]),
        )
