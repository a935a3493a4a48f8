"""The scheduler of the embedded cluster, after kube-scheduler: filters, scores, preemption."""
