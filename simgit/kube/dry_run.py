"""A dry run of a trace: the objects that a cluster would refuse, found on an embedded one."""

from __future__ import annotations

from simgit.errors import ClusterError, InvalidInput
from simgit.kube.embedded.cluster import EmbeddedCluster
from simgit.kube.embedded.validation import InvalidObject
from simgit.kube.manifest import TEMPLATE_PATHS, Manifest, gvk_of
from simgit.kube.simulation import DEFAULT, virtual_object
from simgit.kube.trace.model import Trace


def refused_objects(trace: Trace) -> list[InvalidInput]:
    """Return an error for each applied object that a replay would refuse.

    These are bad quantities, malformed templates, and what validation finds. ``path`` on
    an error names the place, such as
    ``events[3].applied_objs[0].spec.template.spec.containers[0].resources.requests.cpu``.
    """
    cluster = EmbeddedCluster(())  # no nodes: pods wait, and nothing is placed
    found = []
    for number, event in enumerate(trace.events):
        for at, manifest in enumerate(event.applied):
            error = _refusal(cluster, manifest)
            if error is not None and not isinstance(error, InvalidObject):
                # Perhaps the cluster is only full: no time passes here, so no pod ends.
                cluster = EmbeddedCluster(())
                error = _refusal(cluster, manifest)
            if error is not None:
                found.append(_placed(error, manifest, f"events[{number}].applied_objs[{at}]"))
        cluster.delete(event.deleted)
    return found


def _refusal(cluster: EmbeddedCluster, manifest: Manifest) -> InvalidInput | ClusterError | None:
    try:
        cluster.apply([manifest])
        virtual_object(manifest, DEFAULT)
    except (InvalidInput, ClusterError) as error:
        return error
    return None


def _placed(error: InvalidInput | ClusterError, manifest: Manifest, place: str) -> InvalidInput:
    """Return an error of an object as one of the trace, with as much of its place as is known."""
    data, parts, why = vars(error), [place], error.message
    if "pod_path" in data:  # in the spec of a pod
        parts += [*map(str, TEMPLATE_PATHS[gvk_of(manifest)]), "spec", data["pod_path"]]
    elif "object" in data:  # a field of the object itself, which the message ends with
        parts.append(data["path"])
        why = why.removesuffix(f" at '{data['path']}'")
    path = ".".join(parts)
    return InvalidInput(f"{why} at '{path}'", path=path)
