"""What one worker process gives to one thing at a time."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tasks.running import share_of


def test_a_share_is_never_more_than_was_allowed_and_is_given_back() -> None:
    with ExitStack() as stack:
        taken = [stack.enter_context(share_of("sink", 2)) for _ in range(3)]
        assert taken == [True, True, False]
        with share_of("another", 2) as other:
            assert other
    with share_of("sink", 1) as again:
        assert again


def test_a_share_is_given_back_when_its_work_fails() -> None:
    with pytest.raises(RuntimeError), share_of("sink", 1):
        raise RuntimeError
    with share_of("sink", 1) as again:
        assert again
