"""The scheduler of the embedded cluster, a model of kube-scheduler 1.35.

- ``scheduler``: the queue, and one attempt for each pod; ``queueing_hints``: whom to retry.
- ``filters`` with ``affinity`` and ``spread``: which nodes are feasible, and why others are not.
- ``scoring``: which feasible node is best; ``preemption``: which pods to evict if none is.
- ``messages``: why a pod is pending, in kube-scheduler's words.
"""
