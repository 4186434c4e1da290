"""A line where the interpreter lacks this project's packages, instead of a traceback; imported before all else."""
import importlib.util
import os
import sys

_VENV = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), ".venv")  # where `make setup` puts them


def refuse_missing(*names: str) -> None:
    """End the program with exit status 2 if a package is not installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if not missing:
        return
    if os.path.isfile(os.path.join(_VENV, "bin", "activate")):
        remedy = f"activate the environment where they are: . {os.path.join(os.path.relpath(_VENV), 'bin', 'activate')}"
    else:
        remedy = "set up an environment: make setup && . .venv/bin/activate (README has it without make, too)"
    print(f"error: {sys.executable} has no {', '.join(missing)}; {remedy}", file=sys.stderr)
    sys.exit(2)


refuse_missing("torch", "numpy", "PIL")
