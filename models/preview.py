"""The few pictures that the training page shows at every refresh: the same ones each time, drawn as at test."""
from __future__ import annotations

import contextlib
import io

from data.data_loader import CreateDataLoader, collate
from data.grouping import grouped
from models.validation import held_out_phase
from util.errors import UserError
from util.lazy import LazyModule
from util.training_page import Preview

torch = LazyModule("torch")
COUNT = 3


class PreviewPictures:
    """Held-out pictures where there are any, whether or not they validate, else the first ones that are trained on.

    They are prepared like those that are trained on, but neither mirrored nor augmented. Drawing them leaves the training's
    weights and random state as they were.
    """

    def __init__(self, opt, model):
        self.model = model
        self.heading, self.text, self.batches = _pictures(opt)

    def draw(self) -> Preview:
        """Draw them, as `BaseModel.result_visuals` shows them."""
        # compiling anew for other sizes of batches takes longer than drawing these
        uncompiled = torch.compiler.set_stance("force_eager") if self.model.opt.compile else contextlib.nullcontext()
        drawn = {}
        with self.model.as_at_test(), uncompiled:
            for batch in self.batches:
                outputs = self.model.aimed_inference(batch)
                drawn |= {name: self.model.result_visuals(batch, outputs, i) for i, name in enumerate(batch["name"])}
        return Preview(self.heading, self.text, drawn)


def _pictures(opt) -> tuple[str, str, list[dict]]:
    """A heading, what is said below it, and the pictures, those of one size as a batch."""
    text = "The same at every refresh, drawn as at test. Below each, how it came to be."
    plain = opt.replace(role="test", serial_batches=True, no_flip=True, nThreads=0, batchSize=1, max_dataset_size=COUNT)
    try:
        if (phase := held_out_phase(opt)) or opt.val_freq:
            held_out = plain.replace(phase=phase, part=None) if phase else plain.replace(part="held out")
            return f"Held-out pictures, of {held_out.phase}_", text, _read(held_out)
    except UserError as error:
        text += f" Held-out ones cannot be drawn: {error}"
    with contextlib.suppress(UserError):  # the training tells of it when their turn comes
        return f"Training pictures, of {opt.phase}_", text, _read(plain)
    return "", "", []


def _read(opt) -> list[dict]:
    with contextlib.redirect_stdout(io.StringIO()):  # what there is to say of the data has been said
        dataset = CreateDataLoader(opt).dataset
    return list(grouped((collate([dataset[i]]) for i in range(dataset.limit)), COUNT))
