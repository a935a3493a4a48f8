"""Every case, in the order of the table."""

from __future__ import annotations

from . import (
    cases_arrays,
    cases_datasets,
    cases_exchange,
    cases_gym,
    cases_history,
    cases_http,
    cases_kube,
    cases_learners,
    cases_live,
    cases_overhead,
    cases_page,
    cases_read,
    cases_record,
    cases_remotes,
    cases_sb3,
    cases_sql,
    cases_start,
    cases_train,
    cases_upkeep,
    cases_viewer,
)
from .case import Case


def every_case() -> list[Case]:
    """Return all cases: recording, reading, arrays, history, environments, SimKube, training."""
    return [
        *cases_record.CASES,
        *cases_read.CASES,
        *cases_arrays.CASES,
        *cases_datasets.CASES,
        *cases_history.CASES,
        *cases_exchange.CASES,
        *cases_remotes.CASES,
        *cases_start.CASES,
        *cases_sql.CASES,
        *cases_gym.CASES,
        *cases_kube.CASES,
        *cases_train.CASES,
        *cases_overhead.CASES,
        *cases_sb3.CASES,
        *cases_learners.CASES,
        *cases_upkeep.CASES,
        *cases_viewer.CASES,
        *cases_live.CASES,
        *cases_http.CASES,
        *cases_page.CASES,
    ]


def chosen(names: list[str] | None) -> list[Case]:
    """Return the cases whose names begin with one of these, or all."""
    if not names:
        return every_case()
    return [case for case in every_case() if case.name.startswith(tuple(names))]
