"""Work in the background: in order, bounded, and no error gets lost."""
import threading

import pytest

from util.background import Background
from util.errors import UserError


def test_calls_come_in_order_and_few_wait():
    done, go = [], threading.Event()

    def work(i):
        go.wait(10)
        done.append(i)

    with Background(most=2) as background:
        for i in range(3):
            background.do(work, i)
        threading.Timer(0.05, go.set).start()
        background.do(work, 3)
        assert done, "the fourth call waited for the first"
        background.do(work, 4)
    assert done == list(range(5))


def fail():
    raise UserError("the disk is full")


def test_an_error_ends_the_caller_and_what_waits_behind_it():
    done, go = [], threading.Event()
    with pytest.raises(UserError, match="disk"), Background(most=5) as background:
        background.do(go.wait, 10)
        background.do(fail)
        background.do(done.append, 1)
        go.set()
    with pytest.raises(UserError, match="disk"), Background(most=0) as background:
        background.do(fail)
        background.do(done.append, 2)
        raise AssertionError("the second call waits for the first")
    assert not done


def test_ctrl_c_waits_for_what_was_drawn_and_a_bug_does_not():
    for error, finished in ((KeyboardInterrupt, [1, 2]), (ZeroDivisionError, [])):
        done, go = [], threading.Event()
        with pytest.raises(error), Background(most=5) as background:
            background.do(go.wait, 10)
            background.do(done.append, 1)
            background.do(done.append, 2)
            threading.Timer(0.05, go.set).start()
            raise error
        assert done == finished
