"""Controllers of the embedded cluster: Deployments, Jobs, DaemonSets and the others."""
