"""Faults that a review reproduced, each with the tests that catch it; the guard keeps the table
true.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

CAUGHT_BY: dict[str, list[str]] = {
    "a user's Tilted prior: its log_norm left out of the likelihood": [
        "estimators/test_own_tilts.py::test_a_tilt_that_knows_its_normaliser_is_normalised",
        "estimators/test_own_tilts.py::test_a_lower_group_with_a_normaliser_for_every_context",
    ],
    "a normaliser that nobody knows: log Z '0, exact', an ELBO without bound": [
        "estimators/test_own_tilts.py::test_a_normaliser_that_nobody_owns_is_refused",
        "estimators/test_own_tilts.py::test_no_objective_trains_what_is_not_normalised",
    ],
    "a resume file that returns another model's number": [
        "estimators/test_journal.py::test_the_scale_of_a_likelihood_is_seen",
        "estimators/test_journal.py::test_settings_of_a_hierarchy_belong_to_its_identity",
        "estimators/test_journal.py::test_journal_of_another_computation_is_refused",
        "training/test_probe.py::test_other_settings_are_refused",
    ],
    "pseudo-inputs in the batch statistics; second passes that move them": [
        "oracles/test_batch_statistics.py::test_pseudo_inputs_leave_no_trace",
        "oracles/test_batch_statistics.py::test_a_step_counts_its_batch_once",
        "oracles/test_batch_statistics.py::test_a_vamp_prior_trains_over_batch_normalisation",
    ],
    "networks behind lambdas, partials and closures stay in training mode": [
        "oracles/test_wrap_oracle.py::test_evaluation_leaves_no_trace_in_networks_behind_functions",
        "oracles/test_wrap_oracle.py::test_fitting_an_ncp_leaves_networks_behind_functions_alone",
        "oracles/test_wrap_oracle.py::test_a_function_without_modules_is_warned_of_before_anything_runs",
    ],
    "density='groups' ignores the stored log Z of one group; errors of normalisers": [
        "estimators/test_likelihood.py::test_one_group_has_one_normaliser",
        "estimators/test_likelihood.py::test_errors_of_group_normalisers_are_counted",
    ],
    "the symmetric KL's error too small, its bias unsaid, a verdict on it": [
        "estimators/test_coverage.py::test_stated_errors_cover",
        "estimators/test_divergence.py::test_the_reader_is_told_that_many_dimensions_make_it_too_low",
        "reporting/test_verdicts.py::test_distances_are_shown_and_nothing_is_concluded_from_them",
    ],
    "log Z of other weights": [
        "estimators/test_own_tilts.py::test_an_estimate_lasts_as_long_as_its_tensors",
        "estimators/test_normalizer.py::test_refit_forgets_it",
    ],
    "log Z from a handful of draws": [
        "estimators/test_annealed.py::test_sharp_tilts",
        "estimators/test_annealed.py::test_interval_covers",
        "estimators/test_annealed.py::test_modes_that_do_not_mix_are_told",
        "estimators/test_normalizer.py::test_warns_when_the_sample_is_too_small",
    ],
    "the float32 product of narrow components": [
        "oracles/test_mixture_oracle.py::test_error_of_an_aggregate_posterior_is_bounded",
        "oracles/test_mixture_oracle.py::test_bound_of_the_product",
    ],
    "TF32 in the mixture product": ["oracles/test_mixture_oracle.py::test_products_are_not_cut"],
    "observations outside the likelihood's support; a missing channel": [
        "distributions/test_support.py::test_values_that_are_no_pixels_are_refused",
        "distributions/test_support.py::test_one_channel_of_three",
        "estimators/test_likelihood.py::test_observations_outside_the_support_are_refused",
    ],
    "Estimate.minus on different images": [
        "estimators/test_estimate.py::test_what_does_not_fit_is_refused"
    ],
    "a prior or posterior that is not Independent": [
        "oracles/test_model_oracles.py::test_prior_that_is_not_independent_is_refused",
        "estimators/test_likelihood.py::test_a_distribution_without_events_is_refused",
    ],
    "IWAE judged by the ELBO": [
        "oracles/test_judging_oracle.py::test_iwae_is_judged_by_its_own_bound"
    ],
    "grey means beside binarised images": [
        "evaluation/test_sample_quality.py::test_bits_are_compared_with_bits"
    ],
    "evaluate aborts on a deterministic encoder": [
        "cli/test_commands.py::test_evaluate_a_deterministic_part"
    ],
    "advice that is refused": ["guards/test_advice.py::test_advice_is_taken"],
    "seeded covers one device": [
        "oracles/test_randomness_oracle.py::test_draws_on_every_device_depend_on_the_address_alone"
    ],
    "an NCP known by name": ["guards/test_no_model_by_name.py::test_no_file_asks_for_an_ncp"],
    "two players, and what happens between backward and step": [
        "training/test_turns.py::test_two_players_and_a_hook_are_a_hand_written_loop"
    ],
}


@pytest.mark.parametrize("fault", CAUGHT_BY)
def test_the_tests_are_there(fault):
    """Fault: a test that was renamed or removed, and with it the only guard of a fault that was
    there once.
    """
    for place in CAUGHT_BY[fault]:
        file, name = place.split("::")
        tree = ast.parse((TESTS / file).read_text())
        assert name in {
            node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)
        }, place
