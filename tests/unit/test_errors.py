from __future__ import annotations

from pathlib import Path

from slipway.errors import CommandFailed, PhaseFailed, SlipwayError, UsageError, unknown


def test_a_failed_command_can_be_pasted_and_shows_what_it_printed_and_what_to_do() -> None:
    error = CommandFailed(["echo", "two words"], 3, "first\nlast\n", hint="Try again.")
    assert str(error) == "exit code 3 from: echo 'two words'\n    first\n    last\nTry again."


def test_a_failed_command_shows_only_the_end_of_a_long_output() -> None:
    error = CommandFailed(["make"], 2, "\n".join(f"line {number}" for number in range(100)))
    assert "line 84" not in str(error)
    assert "line 85" in str(error)
    assert error.output.startswith("line 0")


def test_a_command_that_a_signal_ended_says_which() -> None:
    assert str(CommandFailed(["sleep", "9"], -15, "")) == "ended by signal 15 from: sleep 9"


def test_a_failed_phase_says_where_the_evidence_is() -> None:
    error = PhaseFailed("cluster", SlipwayError("no answer"), bundle=Path("/evidence"), hint="Look there.")
    assert str(error) == "cluster: no answer\nEvidence: /evidence\nLook there."


def test_an_unknown_name_gets_the_sorted_list_of_valid_ones() -> None:
    error = unknown("environment", "live", ["qa", "dev"])
    assert str(error) == "there is no environment 'live'; valid: dev, qa"
    assert isinstance(error, UsageError)
    assert error.exit_code == 2


def test_an_unknown_name_where_there_are_none_says_so() -> None:
    assert str(unknown("service", "x", [])).endswith("valid: (none yet)")
