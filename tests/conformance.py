"""scikit-learn's own checks: every one of them for one estimator a mechanism, the contract for all.

Most checks fit small data again and again. Estimators of one mechanism share all code that they
look at, so what a class can get wrong alone — its parameters, tags, names and fitted state — is
checked of every class, and the rest of its relatives is marked slow.
"""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

CONTRACT = {
    "check_dict_unchanged",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_dont_overwrite_parameters",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_sparse_tag",
    "check_estimator_tags_renamed",
    "check_estimators_fit_returns_self",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_estimators_unfitted",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_positive_only_tag_during_fit",
    "check_requires_y_none",
    "check_set_params",
    "check_transformer_n_iter",
    "check_transformers_unfitted",
    "check_valid_tag_types",
}


def conformance(whole, relatives=()):
    """Parametrised with all checks of `whole`; of `relatives` all but the contract are slow."""
    every = parametrize_with_checks(whole)
    names, cases = every.args
    cases = list(cases)
    for estimator, check in parametrize_with_checks(relatives).args[1] if relatives else ():
        marks = () if check.func.__name__ in CONTRACT else pytest.mark.slow
        cases.append(pytest.param(estimator, check, marks=marks))
    return pytest.mark.parametrize(names, cases, ids=every.kwargs["ids"])
