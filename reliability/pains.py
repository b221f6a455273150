"""What users hit in other trainers, what otr does instead, and the test that shows it."""

PAINS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "A loss that is not a number is logged as 0, and the weights are spoilt",
        "such a step is not applied and its batch kept; several in a row end the run",
        (
            "tests/training/test_guard.py::test_a_step_that_is_not_finite_touches_neither_weights_nor_optimizer",
        ),
    ),
    (
        "Killed while saving, a run cannot be gone on with though older checkpoints are whole",
        "checkpoints are whole or not there; the newest whole one is used",
        (
            "tests/reliability/test_kills.py::test_a_killed_run_ends_as_one_that_was_not",
            "tests/training/test_checkpoints.py::test_a_save_that_never_ended_is_no_checkpoint_and_is_swept",
        ),
    ),
    (
        "SIGTERM ends a run with nothing saved",
        "it saves and exits with 75; the same command goes on",
        ("tests/commands/test_train.py::test_a_signal_saves_and_the_same_command_goes_on",),
    ),
    (
        "`max_length` cuts answers and their end without a word",
        "rows too long are refused unless `data.overlong` says otherwise; what a cut takes is counted",
        (
            "tests/training/test_tokens.py::test_overlong_rows_are_an_error_with_both_ways_out",
            "tests/training/test_tokens.py::test_what_a_cut_takes_is_counted",
            "tests/training/test_trainer.py::test_rows_that_are_cut_are_counted_and_a_total_loss_is_refused",
        ),
    ),
    (
        "All labels masked gives a loss of 0",
        "data without a label are refused, rows without one are named",
        (
            "tests/training/test_known_pains.py::test_rows_without_a_label_are_refused_and_do_not_give_a_loss_of_0",
            "tests/training/test_known_pains.py::test_one_row_without_a_label_is_warned_of",
            "tests/training/test_chat.py::test_rows_with_nothing_to_learn_are_dropped_and_reported",
        ),
    ),
    (
        "Padding that is the end token masks the end, and the model never stops",
        "the end token is learned",
        (
            "tests/training/test_tokens.py::test_the_end_token_is_learned_where_padding_is_the_same_token",
        ),
    ),
    (
        "Usual chat templates mask every answer",
        "answers are found without marks in the template",
        (
            "tests/training/test_chat.py::test_published_templates_learn_each_answer_and_its_end",
            "tests/training/test_chat.py::test_without_markers_the_answers_and_their_end_are_learned",
        ),
    ),
    (
        "The begin token is there twice",
        "it comes once; a template that writes two is reported",
        (
            "tests/training/test_tokens.py::test_a_begin_token_is_added_by_the_tokenizers_own_rule_and_never_twice",
            "tests/training/test_chat.py::test_two_begin_tokens_are_reported",
        ),
    ),
    (
        "Gradient accumulation scales the loss wrongly, also in the last partial step",
        "the divisor is the tokens of the whole step",
        (
            "tests/training/test_trainer.py::test_the_split_of_a_batch_does_not_matter",
            "tests/training/test_known_pains.py::test_the_last_partial_step_of_an_epoch_weighs_its_tokens_as_a_whole_batch_does",
        ),
    ),
    (
        "A resumed run repeats data; a stream resumed twice starts over",
        "it goes on bit by bit, also a second time",
        (
            "tests/training/test_resume.py::test_a_run_goes_on_as_if_it_had_never_stopped",
            "tests/training/test_resume.py::test_a_stream_goes_on_where_it_was",
        ),
    ),
    (
        "Out of memory at the logits, in training and in evaluation",
        "neither makes them",
        (
            "tests/commands/test_train.py::test_a_large_vocabulary_needs_no_room_for_all_logits",
            "tests/training/test_known_pains.py::test_neither_training_nor_evaluation_makes_the_logits",
        ),
    ),
    (
        "Reweighted losses look broken: tiny, or rising likelihoods beside them",
        "the same columns for every objective, the likelihood always among them",
        (
            "tests/training/test_trainer.py::test_every_objective_logs_the_same_columns",
            "tests/training/test_known_pains.py::test_the_defaults_log_a_likelihood_for_every_objective",
        ),
    ),
    (
        "DFT ends worse than its base; it would have needed another learning rate",
        "learning rates are swept for each objective, forgetting is measured, a floor is on offer",
        (
            "tests/evaluation/test_comparison.py::test_the_learning_rate_is_chosen_on_validation_alone",
            "tests/evaluation/test_comparison.py::test_forgetting_is_the_change_from_the_untuned_model",
        ),
    ),
    (
        "With fused kernels the loss silently becomes cross-entropy",
        "a forward that goes past the head ends the run before its first step",
        (
            "tests/training/test_known_pains.py::test_a_model_whose_forward_was_exchanged_does_not_train_on_another_loss",
            "tests/training/test_trainer.py::test_the_gradient_is_that_of_the_full_logits",
        ),
    ),
    (
        "Bad rows are found in the middle of an epoch",
        "all rows are read and checked before anything is written",
        (
            "tests/commands/test_bad_input.py::test_wrong_data_are_refused",
            "tests/training/test_data.py::test_bad_data_is_refused_with_file_line_and_way_out",
        ),
    ),
    (
        "A merged adapter is worse than the adapter",
        "adapters are kept and scored as they are; `otr export --merge` compares the logits",
        (
            "tests/training/test_known_pains.py::test_a_saved_adapter_answers_as_the_trained_model_did",
            "tests/commands/test_export.py::test_a_merged_adapter_answers_as_the_adapter_beside_its_base",
        ),
    ),
    (
        "Processes time out while one of them tokenizes",
        "one of each machine does it, and the others wait for its file, in no collective",
        (
            "tests/training/test_known_pains.py::test_no_collective_waits_for_a_process_that_tokenizes",
            "tests/training/test_shared_tokens.py::test_who_waits_gets_what_the_first_makes",
            "tests/training/test_shared_tokens.py::test_a_dead_process_is_not_waited_for",
        ),
    ),
)


def table() -> str:
    """A row each, numbered; its tests in a comment."""
    return "\n".join(
        f"| {number}. {pain} | {instead} <!-- {', '.join(f'`{test}`' for test in tests)} --> |"
        for number, (pain, instead, tests) in enumerate(PAINS, start=1)
    )
