"""Validation of objects, in the words of the API server of Kubernetes 1.35.

Checked is what decides whether and how pods run: names, selectors, strategies, amounts, ports,
affinity. Fields of a wrong type are passed over here: who reads them refuses them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from simgit.errors import InvalidInput
from simgit.kube.embedded.fields import packed, unpacked
from simgit.kube.embedded.labels import parse_selector
from simgit.kube.embedded.template_equality import same_template
from simgit.kube.manifest import (
    TEMPLATE_PATHS,
    Manifest,
    full_name,
    gvk_of,
    lookup,
    replace,
    template_of,
)
from simgit.kube.quantity import Quantity, canonical, parse_quantity

NEGATIVE = "must be greater than or equal to 0"
NOT_WHOLE = "must be an integer"
_MOST_SHOWN = 100
_MOST_CAUSES = 8
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_NOT_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    "must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used "
    f"for validation is '{_LABEL}')"
)
_NOT_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used "
    f"for validation is '{_SUBDOMAIN}')"
)
_NOT_NAME_PART = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for "
    f"validation is '{_QUALIFIED}')"
)
_NOT_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  "
    f"or '12345', regex used for validation is '{_VALUE}')"
)
_NOT_KEY = (
    "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used "
    f"for validation is '{_QUALIFIED}') with an optional DNS subdomain prefix and '/' (e.g. "
    "'example.com/MyName')"
)
_NOT_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
    "'93%', regex used for validation is '[0-9]+%')"
)
_ALWAYS_ON: Mapping[str, str] = {
    "apps/v1.DaemonSet": "DaemonSet",
    "apps/v1.Deployment": "ReplicaSet",
    "apps/v1.ReplicaSet": "ReplicaSet",
    "apps/v1.StatefulSet": "StatefulSet",
}
"""The kinds whose pods are replaced when they end, and what the API server calls each then."""
_COUNTS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "apps/v1.DaemonSet": (("minReadySeconds",), ("revisionHistoryLimit",)),
    "apps/v1.Deployment": (("replicas",), ("minReadySeconds",), ("revisionHistoryLimit",)),
    "apps/v1.ReplicaSet": (("replicas",), ("minReadySeconds",)),
    "apps/v1.StatefulSet": (
        ("replicas",), ("minReadySeconds",), ("updateStrategy", "rollingUpdate", "partition"),
    ),
    "batch/v1.CronJob": (
        ("startingDeadlineSeconds",), ("successfulJobsHistoryLimit",), ("failedJobsHistoryLimit",),
    ),
    "batch/v1.Job": (
        ("parallelism",), ("completions",), ("activeDeadlineSeconds",), ("backoffLimit",),
        ("ttlSecondsAfterFinished",),
    ),
}  # fmt: skip
"""The fields of a spec that hold a number of 0 or more."""
_POD_CHOICES = {
    "restartPolicy": ("Always", "Never", "OnFailure"),
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
}
_CONTAINER_CHOICES = {
    "imagePullPolicy": ("Always", "IfNotPresent", "Never"),
    "terminationMessagePolicy": ("FallbackToLogsOnError", "File"),
}
_SPREAD_CHOICES = dict.fromkeys(("nodeAffinityPolicy", "nodeTaintsPolicy"), ("Honor", "Ignore"))
_JOB_CHOICES = {"completionMode": ("Indexed", "NonIndexed")}
_PORT_CHOICES = {"protocol": ("SCTP", "TCP", "UDP")}
_PORT_NAMES = (
    (r".{0,15}", "must be no more than 15 bytes"),
    (r"[-a-z0-9]+", "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"),
    (r".*[a-z].*", "must contain at least one letter (a-z)"),
    (r"(?!.*--).*", "must not contain consecutive hyphens"),
    (r"[^-](.*[^-])?", "must not begin or end with a hyphen"),
)
"""What a port's name has to match, and what is said of one that does not."""
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_LEFT_BEHIND: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    "apps/v1.Deployment": ("strategy", "Recreate", {"maxSurge": "25%", "maxUnavailable": "25%"}),
    "apps/v1.StatefulSet": ("updateStrategy", "OnDelete", {"partition": 0}),
}
"""The strategy that takes no 'rollingUpdate', and the defaults of those that do."""
_POD_CHANGES = ("activeDeadlineSeconds", "schedulingGates", "tolerations")
_POD_WORDS = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be "
    "set to 1 if it was previously negative)"
)
_STATEFUL_FIXED = ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates")
_STATEFUL_WORDS = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
    "'minReadySeconds' are forbidden"
)


class Cause(NamedTuple):
    """One reason for a refusal: the path of a field, and what is said of it."""

    path: str
    what: str

    def __str__(self) -> str:
        """Return the cause as the API server lists it."""
        return f"{self.path}: {self.what}"


def invalid(path: str, value: Any, why: str) -> Cause:
    """Return the cause for an invalid value; values are shown as JSON, as since 1.34."""
    return Cause(path, f"Invalid value: {_shown(value)}: {why}")


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    except (TypeError, ValueError):  # keys that JSON does not have
        text = str(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _required(path: str, why: str = "") -> Cause:
    return Cause(path, f"Required value: {why}" if why else "Required value")


def _duplicate(path: str, value: str) -> Cause:
    return Cause(path, f"Duplicate value: {_shown(value)}")


def _unsupported(path: str, value: Any, *supported: str) -> Cause:
    listed = ", ".join(f'"{each}"' for each in supported)
    return Cause(path, f"Unsupported value: {_shown(value)}: supported values: {listed}")


def choice_causes(
    path: str, holder: Mapping[str, Any], choices: Mapping[str, tuple[str, ...]]
) -> Iterator[Cause]:
    """Yield the fields of a map that are set to none of their choices."""
    for field, supported in choices.items():
        if holder.get(field) not in (None, "", *supported):
            yield _unsupported(f"{path}.{field}", holder[field], *supported)


def listed(causes: Iterable[Cause]) -> str:
    """Return causes as the API server joins them, each once."""
    texts = list(dict.fromkeys(map(str, causes)))
    if len(texts) > _MOST_CAUSES:
        texts = [*texts[:_MOST_CAUSES], f"and {len(texts) - _MOST_CAUSES} more"]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


class InvalidObject(InvalidInput):
    """An object that the API server refuses, in its words."""


def check_object(manifest: Manifest, causes: Sequence[Cause]) -> None:
    """Raise InvalidObject for an object if there are causes."""
    if causes:
        version, _, kind = gvk_of(manifest).rpartition(".")
        group = version.rpartition("/")[0]
        subject = f"{kind}.{group}" if group else kind
        name = full_name(manifest)
        raise InvalidObject(
            f'{name}: {subject} "{manifest["metadata"]["name"]}" is invalid: {listed(causes)}',
            path=re.sub(r"\[([^]0-9][^]]*)\]", r".\1", causes[0].path),
            object=f"{gvk_of(manifest)} {name}",
        )


class InvalidPod(InvalidInput):
    """An invalid pod or template; ``causes`` have paths in it."""

    def __init__(self, causes: tuple[Cause, ...]) -> None:
        """Take the causes."""
        super().__init__(listed(causes), pod_path=causes[0].path)
        self.causes = causes


def template_causes(manifest: Manifest, causes: Iterable[Cause]) -> list[Cause]:
    """Return the causes of a template as those of its object."""
    causes = [*causes]
    path = TEMPLATE_PATHS[gvk_of(manifest)] if causes else ()
    if path:
        return [Cause(".".join((*map(str, path), each.path)), each.what) for each in causes]
    return [Cause("metadata.labels" if path == "labels" else path, what) for path, what in causes]


def _map(value: Any) -> Mapping[str, Any]:
    return value if type(value) is dict or isinstance(value, Mapping) else {}


def _maps(value: Any) -> list[tuple[int, Mapping[str, Any]]]:
    items = value if isinstance(value, (list, tuple)) else ()
    return [(i, item) for i, item in enumerate(items) if isinstance(item, (dict, Mapping))]


def object_causes(manifest: Manifest, old: Manifest) -> list[Cause]:
    """Return what is wrong with an object but for its pod template; ``old`` is what it replaces.

    Replays apply the same objects again and again, so the answers are kept by content.
    """
    kind, spec, template = gvk_of(manifest), _map(manifest.get("spec")), template_of(manifest)
    small = {k: v for k, v in spec.items() if k not in ("template", "jobTemplate")}
    if template is not None and kind != "v1.Pod":
        policy = _map(template.get("spec")).get("restartPolicy")
        deadline = _map(template.get("spec")).get("activeDeadlineSeconds")
        labels, notes = _labels_of(template.get("metadata"))
        outline = {
            "metadata": {"labels": labels, "annotations": notes},
            "spec": {"restartPolicy": policy, "activeDeadlineSeconds": deadline},
        }
        small = replace({"spec": small}, TEMPLATE_PATHS[kind], outline)["spec"]
    labels, notes = _labels_of(manifest["metadata"])
    metadata = {k: manifest["metadata"].get(k) for k in ("name", "namespace")}
    metadata |= {"labels": labels, "annotations": notes}
    part = {k: manifest.get(k) for k in ("apiVersion", "kind")}
    part |= {"metadata": metadata, "spec": small}
    key = packed(part) if kind != "v1.Pod" else None
    found = list(_causes_of(part)) if key is None else [*_known_causes(key)]
    return [*found, *_update_causes(kind, spec, _map(old.get("spec")))] if old else found


def _labels_of(metadata: Any) -> tuple[Any, dict[Any, str]]:
    """Return labels, and annotations without their values, which may be large."""
    return _map(metadata).get("labels"), dict.fromkeys(_map(_map(metadata).get("annotations")), "")


@lru_cache(maxsize=1024)
def _known_causes(key: bytes) -> tuple[Cause, ...]:
    return tuple(_causes_of(unpacked(key)))


def _causes_of(manifest: Manifest) -> Iterator[Cause]:
    kind, spec = gvk_of(manifest), _map(manifest.get("spec"))
    yield from _metadata_causes(manifest)
    for path in _COUNTS.get(kind, ()):
        value = lookup(spec, path)
        if type(value) is int and value < 0:
            yield invalid(".".join(("spec", *path)), value, NEGATIVE)
    yield from _restart_causes(manifest)
    if kind in _ALWAYS_ON:
        yield from _selector_causes(manifest)
        yield from _strategy_causes(kind, spec)
    if kind == "apps/v1.Deployment":
        yield from _progress_causes(spec)
    template = template_of(manifest)
    if template is not None and kind != "v1.Pod":
        place = ".".join((*map(str, TEMPLATE_PATHS[kind]), "annotations"))
        yield from _annotation_causes(place, template.get("metadata"))
    if kind == "batch/v1.Job":
        yield from choice_causes("spec", spec, _JOB_CHOICES)
        if not spec.get("manualSelector"):
            yield from _generated_causes(manifest)
    if kind == "apps/v1.StatefulSet":  # all that is validated of its template
        policy = spec.get("podManagementPolicy")
        if policy not in (None, "", "OrderedReady", "Parallel"):
            why = "must be 'OrderedReady' or 'Parallel'"
            yield invalid("spec.podManagementPolicy", policy, why)
        yield from label_causes(
            "spec.template.labels", lookup(spec, ("template", "metadata", "labels"))
        )


def _generated_causes(manifest: Manifest) -> Iterator[Cause]:
    """Yield what a Job says of itself that only the API server can know, such as its UID."""
    labels = _map(lookup(manifest, ("spec", "template", "metadata", "labels")))
    for prefix in ("", "batch.kubernetes.io/"):
        path, name = "spec.template.metadata.labels", manifest["metadata"]["name"]
        if f"{prefix}controller-uid" in labels:
            yield invalid(f"{path}[{prefix}controller-uid]", labels, "must be the UID of the Job")
        if labels.get(f"{prefix}job-name", name) != name:
            yield invalid(f"{path}[{prefix}job-name]", labels, f"must be '{name}'")
    if (selector := lookup(manifest, ("spec", "selector"))) is not None:
        yield invalid("spec.selector", selector, "`selector` not auto-generated")


def _metadata_causes(manifest: Manifest) -> Iterator[Cause]:
    metadata, kind = manifest["metadata"], gvk_of(manifest)
    name, namespace = metadata["name"], metadata.get("namespace")
    if not _fits(_SUBDOMAIN, name):
        yield invalid("metadata.name", name, _NOT_SUBDOMAIN)
    most, of_what = (52, "characters") if kind == "batch/v1.CronJob" else (253, "bytes")
    if len(name) > most:
        yield invalid("metadata.name", name, f"must be no more than {most} {of_what}")
    if isinstance(namespace, str) and namespace:
        yield from _dns_label("metadata.namespace", namespace)
    if kind != "v1.Pod":  # the labels of a pod are those of its template
        yield from label_causes("metadata.labels", metadata.get("labels"))
    yield from _annotation_causes("metadata.annotations", metadata)


def _annotation_causes(path: str, metadata: Any) -> Iterator[Cause]:
    for key in _map(_map(metadata).get("annotations")):
        yield from _key_causes(path, str(key).lower())


def _fits(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text) is not None


def _dns_label(path: str, text: str) -> Iterator[Cause]:
    if not _fits(_LABEL, text):
        yield invalid(path, text, _NOT_LABEL)
    if len(text) > 63:
        yield invalid(path, text, "must be no more than 63 bytes")


def label_causes(path: str, labels: Any) -> Iterator[Cause]:
    """Yield what is wrong with a map of labels."""
    for key, value in _map(labels).items():
        yield from _key_causes(path, str(key))
        if value is not None and not isinstance(value, str):
            yield invalid(path, value, "must be a string")
        if isinstance(value, str) and not _fits(_VALUE, value):
            yield invalid(path, value, _NOT_VALUE)
        if isinstance(value, str) and len(value) > 63:
            yield invalid(path, value, "must be no more than 63 bytes")


def _key_causes(path: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        yield invalid(path, key, _NOT_KEY)
        return
    if slash and not prefix:
        yield invalid(path, key, "prefix part must be non-empty")
    elif slash and not _fits(_SUBDOMAIN, prefix):
        yield invalid(path, key, f"prefix part {_NOT_SUBDOMAIN}")
    if not name:
        yield invalid(path, key, "name part must be non-empty")
    if not _fits(_QUALIFIED, name):
        yield invalid(path, key, _NOT_NAME_PART)
    if len(name) > 63:
        yield invalid(path, key, "name part must be no more than 63 bytes")


def selector_causes(path: str, selector: Any) -> Iterator[Cause]:
    """Yield what is wrong with a label selector but for unknown operators."""
    yield from label_causes(f"{path}.matchLabels", _map(selector).get("matchLabels"))
    yield from _expression_causes(f"{path}.matchExpressions", selector)


def _expression_causes(path: str, holder: Any, *, of_nodes: bool = False) -> Iterator[Cause]:
    for i, item in _maps(_map(holder).get("matchExpressions")):
        at, operator, values = f"{path}[{i}]", item.get("operator"), item.get("values") or ()
        if operator in ("In", "NotIn") and not values:
            yield _required(f"{at}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist") and values:
            why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            yield Cause(f"{at}.values", f"Forbidden: {why}")
        elif operator in ("Gt", "Lt") and not of_nodes:
            yield invalid(f"{at}.operator", operator, "not a valid selector operator")
        elif operator in ("Gt", "Lt") and len(values) != 1:
            why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            yield _required(f"{at}.values", why)
        yield from _key_causes(f"{at}.key", str(item.get("key") or ""))


def _restart_causes(manifest: Manifest) -> Iterator[Cause]:
    kind, template = gvk_of(manifest), template_of(manifest)
    if template is None or kind == "v1.Pod":
        return
    path = ".".join((*map(str, TEMPLATE_PATHS[kind]), "spec.restartPolicy"))
    if kind in _ALWAYS_ON and _map(template.get("spec")).get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {_ALWAYS_ON[kind]} is not Supported"
        yield Cause("spec.template.spec.activeDeadlineSeconds", f"Forbidden: {why}")
    policy = _map(template.get("spec")).get("restartPolicy") or "Always"
    if kind in _ALWAYS_ON and policy in ("Never", "OnFailure"):
        yield _unsupported(path, policy, "Always")
    elif kind not in _ALWAYS_ON and policy == "Always":
        yield _required(path, 'valid values: "OnFailure", "Never"')


def _selector_causes(manifest: Manifest) -> Iterator[Cause]:
    found = lookup(manifest, ("spec", "selector"))
    template = template_of(manifest)
    if template is None:
        return
    labels = _map(_map(template.get("metadata")).get("labels"))
    selector = parse_selector(found)
    always = manifest.get("kind") == "DaemonSet"
    if selector is None:
        if not always:
            yield _required("spec.selector")
    elif not selector.requirements:
        kind = {"DaemonSet": "daemonset", "StatefulSet": "statefulset"}
        told = kind.get(str(manifest.get("kind")), "deployment")
        yield invalid("spec.selector", found, f"empty selector is invalid for {told}")
        return
    elif causes := [*selector_causes("spec.selector", found)]:
        yield from causes
        if not always:
            yield invalid("spec.selector", found, "invalid label selector")
        return
    if selector is None or not selector.matches({k: str(v) for k, v in labels.items()}):
        why = "`selector` does not match template `labels`"
        yield invalid("spec.template.metadata.labels", labels, why)


def _percent(value: Any) -> int | None:
    """Return a number or a percentage as such, not rounded; None for what is neither."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isdecimal():
        return int(value[:-1]) if len(value) < 12 else 10**9
    return value if type(value) is int else None


def _strategy_causes(kind: str, spec: Mapping[str, Any]) -> Iterator[Cause]:
    field = "strategy" if kind == "apps/v1.Deployment" else "updateStrategy"
    strategy = _map(spec.get(field))
    path, rolling = f"spec.{field}.rollingUpdate", strategy.get("rollingUpdate")
    type_ = strategy.get("type") or "RollingUpdate"
    if kind == "apps/v1.Deployment":
        if type_ not in ("Recreate", "RollingUpdate"):
            yield _unsupported(f"spec.{field}", strategy, "Recreate", "RollingUpdate")
        if type_ == "Recreate" and rolling is not None:
            yield _rolling_cause(field, rolling)
    elif kind != "apps/v1.ReplicaSet" and type_ not in ("RollingUpdate", "OnDelete"):
        if kind == "apps/v1.DaemonSet":
            yield _unsupported(f"spec.{field}", strategy, "RollingUpdate", "OnDelete")
        else:
            yield invalid(f"spec.{field}", strategy, "must be 'RollingUpdate' or 'OnDelete'")
    elif kind == "apps/v1.StatefulSet" and type_ == "OnDelete" and rolling is not None:
        yield _rolling_cause(field, rolling)
    if kind == "apps/v1.ReplicaSet" or type_ != "RollingUpdate":
        return
    defaults = ("25%", "25%") if kind == "apps/v1.Deployment" else (1, 0)
    given = [_map(rolling).get(name) for name in ("maxUnavailable", "maxSurge")]
    low, high = (d if g is None else g for d, g in zip(defaults, given, strict=True))
    yield from share_causes(f"{path}.maxUnavailable", low, limited=True)
    yield from share_causes(f"{path}.maxSurge", high, limited=kind == "apps/v1.DaemonSet")
    down, up = _percent(low), _percent(high)
    if down is None or up is None:
        return
    if kind == "apps/v1.Deployment" and not down and not up:
        yield invalid(f"{path}.maxUnavailable", low, "may not be 0 when `maxSurge` is 0")
    elif kind == "apps/v1.StatefulSet" and not down:
        yield invalid(f"{path}.maxUnavailable", low, "cannot be 0")
    elif kind == "apps/v1.DaemonSet" and down and up:
        yield invalid(f"{path}.maxSurge", high, "may not be set when maxUnavailable is non-zero")
    elif kind == "apps/v1.DaemonSet" and not down and not up:
        yield _required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def _rolling_cause(field: str, rolling: Any) -> Cause:
    """Return the cause for a 'rollingUpdate' beside a strategy that does not roll."""
    path = f"spec.{field}.rollingUpdate"
    if field == "strategy":
        return Cause(path, "Forbidden: may not be specified when strategy `type` is 'Recreate'")
    return invalid(path, rolling, "only allowed for updateStrategy 'RollingUpdate'")


def share_causes(path: str, value: Any, *, limited: bool) -> Iterator[Cause]:
    """Yield what is wrong with a number or a percentage, which may be limited to 100 %."""
    number = _percent(value)
    if isinstance(value, str) and number is None:
        yield invalid(path, value, _NOT_PERCENT)
    elif number is not None and number < 0:
        yield invalid(path, value, NEGATIVE)
    elif isinstance(value, str) and number is not None and number > 100 and limited:
        yield invalid(path, value, "must not be greater than 100%")


def _progress_causes(spec: Mapping[str, Any]) -> Iterator[Cause]:
    given = spec.get("progressDeadlineSeconds")
    deadline, ready = 600 if given is None else given, spec.get("minReadySeconds") or 0
    if type(deadline) is int and type(ready) is int and deadline <= ready:
        yield invalid(
            "spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"
        )


def _update_causes(kind: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[Cause]:
    def changed(field: str) -> bool:
        return not same_template({field: new.get(field)}, {field: old.get(field)})

    fixed = {
        "apps/v1.DaemonSet": ["selector"],
        "apps/v1.Deployment": ["selector"],
        "apps/v1.ReplicaSet": ["selector"],
        "batch/v1.Job": ["completionMode", "template"],
    }.get(kind, [])
    if kind == "batch/v1.Job" and new.get("completionMode") != "Indexed":
        before, after = _completions(old, {}), _completions(new, old)
        if before != after:
            yield invalid("spec.completions", after, "field is immutable")
    if kind == "v1.Pod" and not same_template(*map(_kept_of_pod, (new, old))):
        yield Cause("spec", f"Forbidden: {_POD_WORDS}")
    if kind == "v1.Pod":
        after = [_lasting(each) for _, each in _maps(new.get("tolerations"))]
        if any(_lasting(each) not in after for _, each in _maps(old.get("tolerations"))):
            why = "existing toleration can not be modified except its tolerationSeconds"
            yield Cause("spec.tolerations", f"Forbidden: {why}")
    if kind in _LEFT_BEHIND:
        field, plain, defaulted = _LEFT_BEHIND[kind]
        strategy, before = _map(new.get(field)), _map(old.get(field))
        # An apply takes back what the one before set, but not what the API server had added.
        own, type_ = before.get("rollingUpdate"), before.get("type") or ""
        left = {key: value for key, value in defaulted.items() if _map(own).get(key) is None}
        if type_ == plain or (type_ and own is None and kind == "apps/v1.StatefulSet"):
            left = {}  # with a type and no 'rollingUpdate', a StatefulSet gets no defaults of it
        if left and strategy.get("type") == plain and "rollingUpdate" not in strategy:
            yield _rolling_cause(field, left)
    for field in fixed:
        if changed(field):
            yield invalid(f"spec.{field}", new.get(field), "field is immutable")
    if kind == "apps/v1.StatefulSet" and any(map(changed, _STATEFUL_FIXED)):
        yield Cause("spec", f"Forbidden: {_STATEFUL_WORDS}")


def _completions(spec: Mapping[str, Any], old: Mapping[str, Any]) -> Any:
    """Return the completions of a Job that is applied over an old one.

    Without completions and parallelism both are 1. What was not applied before is not taken back.
    """
    if spec.get("completions") is not None:
        return spec["completions"]
    if old and old.get("parallelism") is None:
        return 1 if old.get("completions") is None else None
    return 1 if spec.get("parallelism") is None else None


def _lasting(toleration: Mapping[str, Any]) -> dict[str, Any]:
    return {**toleration, "tolerationSeconds": None}


def _kept_of_pod(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a pod's spec cannot change."""
    kept = {key: value for key, value in spec.items() if key not in _POD_CHANGES}
    for field in ("containers", "initContainers"):
        images = [{**each, "image": ""} for _, each in _maps(spec.get(field))]
        kept[field] = images or None
    return kept


def pod_causes(spec: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[Cause]:
    """Yield what is wrong with the spec and the labels of a pod, with paths in the pod."""
    yield from label_causes("labels", labels)
    volumes = spec.get("volumes")
    names: set[str] = set()
    for i, volume in _maps(volumes):
        yield from _name_causes(f"spec.volumes[{i}].name", volume.get("name"), names)
    if spec.get("containers") in (None, [], ()):
        yield _required("spec.containers")
    taken: set[str] = set()
    on_host, host_ports = bool(spec.get("hostNetwork")), set[str]()
    for field in ("containers", "initContainers"):
        for i, container in _maps(spec.get(field)):
            path = f"spec.{field}[{i}]"
            yield from _container_causes(path, container, taken)
            yield from _mount_causes(path, container, names)
            shared = host_ports if field == "containers" else set()
            yield from _port_causes(path, container, shared, on_host=on_host)
    yield from choice_causes("spec", spec, _POD_CHOICES)
    deadline, node = spec.get("activeDeadlineSeconds"), spec.get("nodeName")
    if type(deadline) is int and not 0 < deadline < 2**31:
        why = "must be between 1 and 2147483647, inclusive"
        yield invalid("spec.activeDeadlineSeconds", deadline, why)
    if isinstance(node, str) and node and not _fits(_SUBDOMAIN, node):
        yield invalid("spec.nodeName", node, _NOT_SUBDOMAIN)
    yield from label_causes("spec.nodeSelector", spec.get("nodeSelector"))
    for i, toleration in _maps(spec.get("tolerations")):
        yield from _toleration_causes(f"spec.tolerations[{i}]", toleration)
    yield from _affinity_causes("spec.affinity", _map(spec.get("affinity")))
    pairs: set[str] = set()
    for i, spread in reversed(_maps(spec.get("topologySpreadConstraints"))):
        path = f"spec.topologySpreadConstraints[{i}]"
        yield from _spread_causes(path, spread)
        pair = f"{{{spread.get('topologyKey')}, {spread.get('whenUnsatisfiable')}}}"
        if pair in pairs:
            yield _duplicate(f"{path}.{{topologyKey, whenUnsatisfiable}}", pair)
        pairs.add(pair)


def _name_causes(path: str, name: Any, taken: set[str]) -> Iterator[Cause]:
    if name in (None, ""):
        yield _required(path)
    elif isinstance(name, str):
        yield from _dns_label(path, name)
        if name in taken:
            yield _duplicate(path, name)
        taken.add(name)


def _container_causes(path: str, container: Mapping[str, Any], taken: set[str]) -> Iterator[Cause]:
    yield from _name_causes(f"{path}.name", container.get("name"), taken)
    if container.get("image") in (None, ""):
        yield _required(f"{path}.image")
    for i, variable in _maps(container.get("env")):
        if variable.get("name") in (None, ""):
            yield _required(f"{path}.env[{i}].name")
    yield from choice_causes(path, container, _CONTAINER_CHOICES)
    yield from _resource_causes(f"{path}.resources", container.get("resources"))


def _mount_causes(path: str, container: Mapping[str, Any], volumes: set[str]) -> Iterator[Cause]:
    places: set[str] = set()
    for i, mount in _maps(container.get("volumeMounts")):
        at, name, place = f"{path}.volumeMounts[{i}]", mount.get("name"), mount.get("mountPath")
        if name in (None, ""):
            yield _required(f"{at}.name")
        if name not in volumes:
            yield Cause(f"{at}.name", f"Not found: {_shown(name or '')}")
        if place in (None, ""):
            yield _required(f"{at}.mountPath")
        elif str(place) in places:
            yield invalid(f"{at}.mountPath", place, "must be unique")
        places.add(str(place))


def _port_causes(
    path: str, container: Mapping[str, Any], taken: set[str], *, on_host: bool
) -> Iterator[Cause]:
    """Yield what is wrong with ports; ``taken`` are host ports, as the API server writes them."""
    names: set[str] = set()
    for i, port in _maps(container.get("ports")):
        at, number, name = f"{path}.ports[{i}]", port.get("containerPort"), port.get("name")
        if isinstance(name, str) and name:
            for pattern, why in _PORT_NAMES:
                if not _fits(pattern, name):
                    yield invalid(f"{at}.name", name, why)
            if name in names:
                yield _duplicate(f"{at}.name", name)
            names.add(name)
        if number in (None, 0):
            yield _required(f"{at}.containerPort")
        for field in ("containerPort", "hostPort"):
            given = port.get(field) or 1
            if type(given) is not int or not 0 < given < 65536:
                why = "must be between 1 and 65535, inclusive"
                yield invalid(f"{at}.{field}", given, why)
        yield from choice_causes(at, port, _PORT_CHOICES)
        host = port.get("hostPort") or (number if on_host else None)
        if on_host and host != number:
            why = "must match `hostPort` when `hostNetwork` is true"
            yield invalid(f"{at}.containerPort", number, why)
        if host:
            place = f"{port.get('protocol') or 'TCP'}/{port.get('hostIP') or ''}/{host}"
            if place in taken:
                yield _duplicate(f"{at}.hostPort", place)
            taken.add(place)


def _affinity_causes(path: str, affinity: Mapping[str, Any]) -> Iterator[Cause]:
    at, rules = f"{path}.nodeAffinity", _map(affinity.get("nodeAffinity"))
    if rules.get(_REQUIRED) is not None:
        place, terms = f"{at}.{_REQUIRED}.nodeSelectorTerms", _map(rules[_REQUIRED])
        if not terms.get("nodeSelectorTerms"):
            yield _required(place, "must have at least one node selector term")
        for i, term in _maps(terms.get("nodeSelectorTerms")):
            yield from _node_term_causes(f"{place}[{i}]", term)
    for place, item in _weighted(f"{at}.{_PREFERRED}", rules):
        yield from _weight_causes(place, item)
        yield from _node_term_causes(f"{place}.preference", _map(item.get("preference")))
    for kind in ("podAffinity", "podAntiAffinity"):
        at, rules = f"{path}.{kind}", _map(affinity.get(kind))
        for i, term in _maps(rules.get(_REQUIRED)):
            yield from _pod_term_causes(f"{at}.{_REQUIRED}[{i}]", term)
        for place, item in _weighted(f"{at}.{_PREFERRED}", rules):
            yield from _weight_causes(place, item)
            yield from _pod_term_causes(
                f"{place}.podAffinityTerm", _map(item.get("podAffinityTerm"))
            )


def _weighted(path: str, rules: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(f"{path}[{i}]", item) for i, item in _maps(rules.get(_PREFERRED))]


def _weight_causes(path: str, item: Mapping[str, Any]) -> Iterator[Cause]:
    weight = item.get("weight") or 0
    if type(weight) is int and not 0 < weight <= 100:
        yield invalid(f"{path}.weight", weight, "must be in the range 1-100")


def _pod_term_causes(path: str, term: Mapping[str, Any]) -> Iterator[Cause]:
    for field in ("labelSelector", "namespaceSelector"):
        yield from selector_causes(f"{path}.{field}", term.get(field))
    if not term.get("topologyKey"):
        yield _required(f"{path}.topologyKey", "can not be empty")
    yield from _key_causes(f"{path}.topologyKey", str(term.get("topologyKey") or ""))


def _node_term_causes(path: str, term: Mapping[str, Any]) -> Iterator[Cause]:
    yield from _expression_causes(f"{path}.matchExpressions", term, of_nodes=True)
    for i, item in _maps(term.get("matchFields")):
        at, operator, key = f"{path}.matchFields[{i}]", item.get("operator"), item.get("key")
        if operator not in ("In", "NotIn"):
            yield invalid(f"{at}.operator", operator, "not a valid selector operator")
        elif len(item.get("values") or ()) != 1:
            why = "must be only one value when `operator` is 'In' or 'NotIn'"
            yield _required(f"{at}.values", f"{why} for node field selector")
        if key != "metadata.name":
            yield invalid(f"{at}.key", key, "not a valid field selector key")


def resource_causes(spec: Mapping[str, Any]) -> Iterator[Cause]:
    """Yield what is wrong with the amounts of a pod's containers."""
    for field in ("containers", "initContainers"):
        for i, container in _maps(spec.get(field)):
            yield from _resource_causes(f"spec.{field}[{i}].resources", container.get("resources"))


def _resource_causes(path: str, resources: Any) -> Iterable[Cause]:
    key = packed(resources)  # an agent asks about the same amounts again and again
    return _found_in_resources(path, resources) if key is None else _known_in_resources(path, key)


@lru_cache(maxsize=1024)
def _known_in_resources(path: str, key: bytes) -> tuple[Cause, ...]:
    return tuple(_found_in_resources(path, unpacked(key)))


def _found_in_resources(path: str, resources: Any) -> Iterator[Cause]:
    limits, requests = (_amounts(_map(resources).get(field)) for field in ("limits", "requests"))
    for field, amounts in (("limits", limits), ("requests", requests)):
        for name, (text, amount) in amounts.items():
            yield from _amount_causes(f"{path}.{field}[{name}]", name, text, amount)
            if field == "requests":
                yield from _limit_causes(path, name, (text, amount), limits)
    names = {*limits, *requests}
    if any(name.startswith("hugepages-") for name in names) and not names & {"cpu", "memory"}:
        yield Cause(path, "Forbidden: HugePages require cpu or memory")


def _amounts(value: Any) -> dict[str, tuple[str, Quantity]]:
    """Return (text, amount) by resource, without the malformed ones."""
    found = {}
    for name, text in sorted(_map(value).items(), key=lambda item: str(item[0])):
        try:
            found[str(name)] = canonical(text), parse_quantity(text)
        except InvalidInput:
            continue
    return found


def _amount_causes(path: str, name: str, text: str, amount: Quantity) -> Iterator[Cause]:
    is_native = "/" not in name or "kubernetes.io/" in name
    if "/" not in name and not (
        name in ("cpu", "memory", "ephemeral-storage") or name.startswith("hugepages-")
    ):
        yield invalid(path, name, "must be a standard resource for containers")
    elif not is_native and name.startswith("requests."):
        yield invalid(path, name, "doesn't follow extended resource name standard")
    if amount.nano < 0:
        yield invalid(path, text, NEGATIVE)
    if not is_native and amount.milli % 1000:
        yield invalid(path, text, "must be an integer")
    if name.startswith("hugepages-"):
        page = _amounts({"": name.removeprefix("hugepages-")}).get("")
        if page and page[1].nano and amount.nano % page[1].nano:
            yield invalid(path, text, f"{text} is not positive integer multiple of {name}")


def _limit_causes(
    path: str, name: str, request: tuple[str, Quantity], limits: Mapping[str, tuple[str, Quantity]]
) -> Iterator[Cause]:
    (text, amount), found = request, limits.get(name)
    # Only of CPU, memory and the like may a pod have less guaranteed than it may use.
    overcommits = ("/" not in name or "kubernetes.io/" in name) and "hugepages-" not in name
    if found is None:
        if not overcommits:
            why = "Limit must be set for non overcommitable resources"
            yield _required(f"{path}.limits", why)
    elif amount.nano != found[1].nano and not overcommits:
        yield invalid(f"{path}.requests", text, f"must be equal to {name} limit of {found[0]}")
    elif amount.nano > found[1].nano:
        why = f"must be less than or equal to {name} limit of {found[0]}"
        yield invalid(f"{path}.requests", text, why)


def _toleration_causes(path: str, toleration: Mapping[str, Any]) -> Iterator[Cause]:
    key, operator = toleration.get("key") or "", toleration.get("operator") or ""
    effect = toleration.get("effect") or ""
    if key:
        yield from _key_causes(f"{path}.key", str(key))
    elif operator != "Exists":
        why = "operator must be Exists when `key` is empty, which means"
        yield invalid(f"{path}.operator", operator, f'{why} "match all values and all keys"')
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        yield invalid(f"{path}.effect", effect, why)
    if operator not in ("", "Equal", "Exists"):
        yield _unsupported(f"{path}.operator", operator, "Equal", "Exists")
    elif operator == "Exists" and toleration.get("value"):
        why = "value must be empty when `operator` is 'Exists'"
        yield invalid(f"{path}.operator", toleration, why)
    effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
    if effect and effect not in effects:
        yield _unsupported(f"{path}.effect", effect, *effects)


def _spread_causes(path: str, spread: Mapping[str, Any]) -> Iterator[Cause]:
    skew, when = spread.get("maxSkew") or 0, spread.get("whenUnsatisfiable") or ""
    yield from selector_causes(f"{path}.labelSelector", spread.get("labelSelector"))
    yield from choice_causes(path, spread, _SPREAD_CHOICES)
    domains = spread.get("minDomains")
    if type(domains) is int and domains <= 0:
        yield invalid(f"{path}.minDomains", domains, "must be greater than zero")
    elif domains is not None and when == "ScheduleAnyway":
        why = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
        yield invalid(f"{path}.minDomains", domains, why)
    if type(skew) is int and skew <= 0:
        yield invalid(f"{path}.maxSkew", skew, "must be greater than zero")
    if spread.get("topologyKey") in (None, ""):
        yield _required(f"{path}.topologyKey", "can not be empty")
    if isinstance(when, str) and when not in ("DoNotSchedule", "ScheduleAnyway"):
        yield _unsupported(f"{path}.whenUnsatisfiable", when, "DoNotSchedule", "ScheduleAnyway")
