"""Paint label maps in a browser, and see the photo that a model draws of them.

    python edit.py --name faces
    python edit.py --name faces --parser checkpoints/parser --port 8000
"""
import startup  # noqa: F401 - before torch
from editor.serving import serve
from options.edit_options import EditOptions
from util.command_line import command_line


@command_line
def main():
    """Parse, load, serve until Ctrl-C."""
    return serve(EditOptions().parse())


if __name__ == "__main__":
    main()
