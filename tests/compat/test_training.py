"""Programs that train in sessions which save by themselves see what they see with TensorFlow."""

from __future__ import annotations

import builtins
import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ckptmgr.compat.v1
from ckptmgr import errors
from tests.compat import run_programs
from tests.compat.programs.seeing import PROGRAMS, Raised

#: Its operators are attached, and unknown to types.
ours: Any = ckptmgr.compat.v1


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What TensorFlow's programs saw, by kind of variables and by program."""
    here = Path(__file__)
    done = subprocess.run(
        [
            sys.executable,
            str(here.with_name("run_programs.py")),
            str(tmp_path_factory.mktemp("tf")),
        ],
        env={**os.environ, "PYTHONPATH": str(here.parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    results: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return results


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", run_programs.KINDS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_sees_the_same(
    name: str, kind: str, expected: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    threads = threading.active_count()
    found = run_programs.run(ours, kind, name, tmp_path / name)
    assert threading.active_count() == threads, "a thread is left"
    wanted = expected[kind][name]
    if isinstance(wanted, dict):
        assert "failed" not in wanted, wanted["failed"]
    assert_same(found, wanted, name)


def assert_same(found: Any, expected: Any, what: str) -> None:
    message = f"{what}: {found!r}, expected {expected!r}"
    if isinstance(expected, dict) and "raised" in expected:
        assert isinstance(found, Raised), message
        assert isinstance(found.error, kind_of(expected["raised"])), message
    elif isinstance(expected, list):
        assert isinstance(found, list | tuple), message
        for number, (one, other) in enumerate(zip(found, expected, strict=False)):
            assert_same(one, other, f"{what}[{number}]")
        assert len(found) == len(expected), message
    elif isinstance(expected, dict):
        assert isinstance(found, dict), message
        assert_same(sorted(found.items()), [list(item) for item in sorted(expected.items())], what)
    else:
        assert run_programs.encode(found) == expected, message


def kind_of(name: str) -> type[BaseException]:
    """Our type, or Python's, for an error of TensorFlow's."""
    if name == "NanLossDuringTrainingError":
        return ckptmgr.compat.v1.train.NanLossDuringTrainingError
    kind = getattr(builtins, name, None) or getattr(ours.errors, name)
    assert isinstance(kind, type)
    assert issubclass(kind, BaseException)
    return kind


# --------------------------------------------------------------------------- ours alone


@pytest.fixture
def graph() -> Iterator[Any]:
    with ours.Graph().as_default() as graph:
        yield graph


class Ending(ours.train.SessionRunHook):  # type: ignore[misc]
    """Raises after each run."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.has_ended = False

    def after_run(self, run_context: Any, run_values: Any) -> None:
        raise self.error

    def end(self, session: Any) -> None:
        self.has_ended = True


@pytest.mark.usefixtures("graph")
def test_a_counter_at_its_end_ends_the_training() -> None:
    one = ours.constant(1)
    hook = Ending(errors.LimitReached("at 5", node="n", op_type="CountUpTo"))
    with ours.train.MonitoredSession(hooks=[hook]) as sess:
        sess.run(one)
    assert hook.has_ended


def test_what_a_program_raises_says_its_message() -> None:
    error = ours.errors.OutOfRangeError(None, None, "no more")
    assert (str(error), error.message) == ("no more", "no more")
    assert str(pickle.loads(pickle.dumps(error))) == "no more"  # noqa: S301 - its own
    assert str(ours.errors.AbortedError("once")) == "once"
    with pytest.raises(ours.errors.DeadlineExceededError, match="late"):
        raise errors.LockTimeout("late")


@pytest.mark.usefixtures("graph")
def test_a_session_that_fails_while_hooks_are_told_is_closed() -> None:
    class Refusing(ours.train.SessionRunHook):  # type: ignore[misc]
        def after_create_session(self, session: Any, coord: Any) -> None:
            sessions.append(session)
            raise LookupError("told")

    sessions: list[Any] = []
    one = ours.constant(1)
    with pytest.raises(LookupError, match="told"):
        ours.train.MonitoredSession(hooks=[Refusing()])
    with pytest.raises(errors.SessionClosed):
        sessions[0].run(one)


@pytest.mark.parametrize("use", ["run", "run_step_fn", "close"])
@pytest.mark.usefixtures("graph")
def test_a_session_that_is_closed(use: str) -> None:
    one = ours.constant(1)
    sess = ours.train.MonitoredSession()
    sess.close()
    arguments = {"run": (one,), "run_step_fn": (lambda step_context: None,), "close": ()}[use]
    with pytest.raises(errors.SessionClosed, match="Session is already closed"):
        getattr(sess, use)(*arguments)


@pytest.mark.usefixtures("graph")
def test_the_wish_to_stop_outlasts_a_run_that_began_before_it() -> None:
    began, wished = threading.Event(), threading.Event()

    class Hook(ours.train.SessionRunHook):  # type: ignore[misc]
        def after_run(self, run_context: Any, run_values: Any) -> None:
            if threading.current_thread() is not threading.main_thread():
                began.set()
                assert wished.wait(10)
            else:
                run_context.request_stop()

    with ours.train.MonitoredSession(hooks=[Hook()]) as sess:
        slow = threading.Thread(target=sess.run, args=([],))
        slow.start()
        assert began.wait(10)
        sess.run([])
        wished.set()
        slow.join(10)
        assert sess.should_stop()


@pytest.mark.usefixtures("graph")
def test_options_of_a_run_are_what_anybody_asks_for() -> None:
    class Asking(ours.train.SessionRunHook):  # type: ignore[misc]
        def __init__(self, **asked: Any) -> None:
            self.asked = ours.RunOptions(**asked)

        def before_run(self, run_context: Any) -> Any:
            return ours.train.SessionRunArgs(None, options=self.asked)

        def after_run(self, run_context: Any, run_values: Any) -> None:
            seen.append((run_values.options.trace_level, run_values.options.timeout_in_ms))
            assert run_values.results is None

    seen: list[Any] = []
    one = ours.constant(1)
    full = ours.RunOptions.FULL_TRACE
    hooks = [Asking(trace_level=full, timeout_in_ms=5), Asking(trace_level=1, timeout_in_ms=9)]
    with ours.train.MonitoredSession(hooks=hooks) as sess:
        sess.run(one, options=ours.RunOptions(trace_level=2))
    assert seen == [(3, 9), (3, 9)]


def test_calls_of_a_loop_are_apart() -> None:
    coord = ours.train.Coordinator()
    times_secs: list[float] = []
    looper = ours.train.LooperThread.loop(coord, 0.03, lambda: times_secs.append(time.monotonic()))
    while len(times_secs) < 4:
        coord.wait_for_stop(0.01)
    coord.request_stop()
    coord.join([looper])
    assert times_secs[3] - times_secs[0] >= 0.08


@pytest.mark.parametrize("name", ["SummarySaverHook", "ProfilerHook", "start_queue_runners"])
def test_what_would_need_summaries_or_queues_is_not_offered(name: str) -> None:
    with pytest.raises(AttributeError, match=f"ckptmgr.compat.v1.train.{name} is not offered"):
        getattr(ours.train, name)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ours.train.StepCounterHook(summary_writer=object()),
        lambda: ours.train.Supervisor(summary_writer=object()),
        lambda: ours.train.warm_start("x", var_name_to_vocab_info={"w": object()}),
        lambda: ours.strided_slice([1], [0], [1], var=1),
        lambda: ours.norm([[1.0]], 2, axis=(0, 1)),
    ],
)
@pytest.mark.usefixtures("graph")
def test_what_is_not_offered_says_so(make: Callable[[], Any]) -> None:
    with pytest.raises(ValueError, match="no summaries are written here|is not offered"):
        make()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("summaries", "the graph has summaries, and none are written"),
        ("queue_runners", "1 queue runners of the graph are not started"),
    ],
)
def test_what_is_left_out_is_logged(
    graph: Any, key: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    graph.add_to_collection(key, ours.constant(b"", name="it"))
    ours.train.MonitoredTrainingSession().close()
    assert message in caplog.text


@pytest.mark.usefixtures("graph")
def test_all_summaries_are_one_operation() -> None:
    ours.add_to_collection("summaries", ours.constant(b"", name="it"))
    assert ours.train.Scaffold().finalize().summary_op.name == "Merge/MergeSummary:0"


@pytest.mark.usefixtures("graph")
def test_who_waits_is_told_for_what() -> None:
    ours.get_variable("w", [2])
    creator = ours.train.WorkerSessionCreator(max_wait_secs=0)
    with pytest.raises(ours.errors.DeadlineExceededError, match="not initialized: w"):
        ours.train.MonitoredSession(creator)


@pytest.mark.usefixtures("graph")
def test_a_checkpoint_that_is_damaged_is_not_trained_on(tmp_path: Path) -> None:
    def session() -> Any:
        return ours.train.MonitoredTrainingSession(
            checkpoint_dir=tmp_path, save_checkpoint_steps=10
        )

    step = ours.train.get_or_create_global_step()
    with session() as sess:
        sess.run(step)
    data = tmp_path / "model.ckpt-0.data-00000-of-00001"
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    with pytest.raises(ours.errors.DataLossError, match="global_step"):
        session()


# --------------------------------------------------------------------------- programs


def output_of(program: str, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_lines_are_shown_once_a_verbosity_is_set() -> None:
    program = """
        import ckptmgr.compat.v1 as tf
        tf.logging.info("before")
        tf.logging.set_verbosity(tf.logging.INFO)
        tf.logging.set_verbosity(tf.logging.INFO)
        tf.logging.info("step %d", 3)
    """
    assert output_of(program) == (0, "", "INFO:tensorflow:step 3\n")


FLAGS = """
    import sys
    import ckptmgr.compat.v1 as tf
    tf.app.flags.DEFINE_string("name", "a", docstring="what it is called")
    tf.flags.DEFINE_integer("count", default_value=3, help="how many")
    FLAGS = tf.flags.FLAGS

    def main(argv):
        print(argv[1:], FLAGS.name, FLAGS.count, "name" in FLAGS, FLAGS["name"].help)
        return 3

    tf.app.run(main)
"""


def test_flags_are_those_of_absl() -> None:
    pytest.importorskip("absl", reason="cannot run here: absl is not installed")
    code, out, _ = output_of(FLAGS, "--name=b", "--unknown=1", "rest")
    assert (code, out) == (3, "['--unknown=1', 'rest'] b 3 True what it is called\n")
    code, out, err = output_of(FLAGS, "--count=x")
    assert (code, out) == (1, "")
    assert "flag --count=x" in err


def test_a_flag_is_parsed_when_it_is_asked_for() -> None:
    pytest.importorskip("absl", reason="cannot run here: absl is not installed")
    program = """
        import ckptmgr.compat.v1 as tf
        tf.flags.DEFINE_integer("count", 3, "how many")
        print(tf.flags.FLAGS.count)
    """
    assert output_of(program, "--count=5") == (0, "5\n", "")


def test_flags_are_counted_and_named() -> None:
    pytest.importorskip("absl", reason="cannot run here: absl is not installed")
    program = """
        import ckptmgr.compat.v1 as tf
        before = len(tf.flags.FLAGS)
        tf.flags.DEFINE_integer("count", 3, "how many")
        print(len(tf.flags.FLAGS) - before, "count" in list(tf.flags.FLAGS))
    """
    assert output_of(program) == (0, "1 True\n", "")


@pytest.mark.parametrize("use", ["tf.flags.FLAGS.x", "tf.app.run(print)", "tf.flags.DEFINE_bool"])
def test_flags_need_absl(use: str) -> None:
    program = f"""
        import sys
        sys.modules["absl"] = None
        import ckptmgr.compat.v1 as tf
        try:
            {use}
        except ImportError as error:
            print(error)
    """
    code, out, err = output_of(program)
    assert (code, err) == (0, "")
    assert "pip install absl-py" in out
