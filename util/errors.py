"""What a user can cause ends in one line; what we cause shows its traceback."""
from __future__ import annotations

import functools
import io
import os
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
    that fails first says its line.
    """

    @functools.wraps(main)
    def entry():
        _show_any_name()
        verbose = "--verbose" in sys.argv
        program = os.path.basename(sys.argv[0])
        try:
            status = main()
            _leave_group()
            sys.exit(status)
        except KeyboardInterrupt:
            print(f"\n{program}: interrupted", file=sys.stderr)
            sys.exit(130)
        except UserError as error:
            message, shown = str(error), error
        except BrokenPipeError:  # the reader of our output went away, as in `... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except (MemoryError, RuntimeError) as error:
            message, shown = _out_of_memory(error) or _lost(error), error
            if message is None:
                _fails_first(str(error))
                raise
        except Exception as error:
            _fails_first(str(error))
            raise
        if _fails_first(message):
            if verbose:
                traceback.print_exception(shown)
            print(f"{program}: error: {message}", file=sys.stderr)
        sys.exit(2)

    return entry


def _show_any_name() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # which a notebook's is not
            stream.reconfigure(errors="backslashreplace")


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


def _leave_group() -> None:
    if _one_of_several():
        from util import distributed
        distributed.stop()
