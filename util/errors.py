"""What a user can cause ends in one line; what we cause shows its traceback."""
from __future__ import annotations

import functools
import io
import os
import signal
import sys
import traceback


class UserError(Exception):
    """A fault the user can mend: a flag, a file, a machine without what was asked for.

    The message is one line that names the flag or file, says what was found, and what to do.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(str(message).split()))


class Diverged(UserError):
    """A loss, a weight or an optimizer's moment is no longer a finite number."""


def first_few(names, limit: int = 5) -> str:
    """'a, b, c and 7 more': a list of names short enough for one line."""
    names = [str(name) for name in names]
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def command_line(main):
    """Turn `main()` into a script's entry: exit 2 and one line on stderr for what the user can mend.

    Characters that the console or the file behind it lacks are shown escaped: a file's name must not end the work.
    The traceback is shown as well with --verbose, and always for anything but a UserError. Of several processes the one
    that fails first says its line; each leaves the group, whatever it ends with.
    """

    @functools.wraps(main)
    def entry():
        _show_any_name()
        orderly = False
        try:
            status = main()
            orderly = True
        except KeyboardInterrupt:
            print(f"\n{_program()}: interrupted", file=sys.stderr)
            status = 130
        except BrokenPipeError:  # the reader of our output went away, as in `... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 1
        except Exception as error:
            message = _for_the_user(error)
            if _fails_first(message or str(error)) and message:
                if "--verbose" in sys.argv:
                    traceback.print_exception(error)
                print(f"{_program()}: error: {message}", file=sys.stderr)
            if message is None:
                raise
            status = 2
        finally:
            _leave_group(orderly)
        sys.exit(status)

    return entry


def _show_any_name() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # which a notebook's is not
            stream.reconfigure(errors="backslashreplace")


def _program() -> str:
    return os.path.basename(sys.argv[0])


def _for_the_user(error: Exception) -> str | None:
    """The line for what the user can mend; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, (MemoryError, RuntimeError)):
        return _out_of_memory(error) or _lost(error)
    return None


def _out_of_memory(error: BaseException) -> str | None:
    text = str(error)
    if isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text:
        return ("out of memory; lower --batchSize, --loadSize (or --fineSize with a crop) or --ngf, "
                f"or use --precision bf16 ({text.splitlines()[0][:160] if text else 'MemoryError'})")
    return None


def _lost(error: RuntimeError) -> str | None:
    """What an exchange with a process that is no longer there ends in."""
    text = str(error)
    if _one_of_several() and any(sign in text for sign in ("Connection closed by peer", "Connection reset by peer",
                                                           "Broken pipe", "NCCL communicator was aborted")):
        return ("another of the processes ended without a word; if the machine ran out of memory, lower --nThreads or use "
                f"fewer processes ({text.splitlines()[0][:160]})")
    return None


def _one_of_several() -> bool:
    return "LOCAL_RANK" in os.environ  # asked here, as importing torch takes seconds


def _fails_first(message: str) -> bool:
    if not _one_of_several():
        return True
    from util import distributed
    return distributed.fails_first(message)


def _leave_group(orderly: bool) -> None:
    """The way out of one of several processes, which nothing changes any more."""
    if _one_of_several():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # from the launcher, as soon as another process has ended
        from util import distributed
        distributed.stop(orderly)
