"""The training loop, with logging, display, validation and saving."""
from __future__ import annotations

import shlex
import time

from models import validation
from models.preview import PreviewPictures
from options.flags import INF
from util import distributed
from util.errors import Diverged, UserError
from util.interrupt import Interrupts
from util.progress import Progress
from util.stopwatch import Stopwatch
from util.visualizer import Visualizer

SHORTER = ("Shorter: `make demo` (minutes), the small networks of docs/recipes.md, a smaller --loadSize, fewer epochs "
           "(--niter, --niter_decay)")


class Training:
    """The loop over epochs and batches, with logging, display, validation and saving."""

    def __init__(self, opt, loader, model, checkpoint, position, again):
        """again: the words of the command line that resumes this training."""
        self.opt, self.loader, self.model = opt, loader, model
        self.checkpoint, self.position, self.again = checkpoint, position, again
        self.epochs = opt.niter + opt.niter_decay
        self.visualizer = Visualizer(opt, len(loader)) if distributed.is_main() else distributed.NoOp()
        self.watch = Stopwatch()
        self.validation = validation.Validation(opt, model) if opt.val_freq else None
        shows = distributed.is_main() and not opt.no_html
        self.preview = PreviewPictures(opt, model) if shows else distributed.NoOp()
        self.shown = None  # the position of the page's last refresh
        self.save_at = time.monotonic() + 60 * opt.save_time
        self.saved = position.total  # the position of the last attempt to save
        for note in model.notes:
            self.visualizer.note(note)
        if self.validation:
            best = checkpoint.best and checkpoint.best["epoch"]
            self.visualizer.know_validations(validation.read_log(checkpoint.folder, position.total), best)

    def run(self) -> int:
        """Train to the end or to an interruption; gives the exit status."""
        if self.position.epoch > self.epochs:
            print(f"Nothing left to do: all {self.epochs} epochs are done. A larger --niter or --niter_decay goes on.")
            return 0
        bar = Progress(self.epochs * len(self.loader), self.position.total, SHORTER) if distributed.is_main() else \
            distributed.NoOp()
        with Interrupts() as interrupts:  # until all is saved
            with bar as self.progress, self.visualizer:
                try:
                    while self.position.epoch <= self.epochs and not interrupts.stop_signal:
                        self.epoch(interrupts)
                except UserError as error:
                    if not isinstance(error, Diverged) and self.position.total > self.saved:
                        self.checkpoint.save(self.model, self.position)  # the progress before a broken picture
                    raise
            return self.finished() if self.position.epoch > self.epochs else self.stopped(interrupts)

    def epoch(self, interrupts):
        """Train for the rest of the current epoch."""
        opt, position = self.opt, self.position
        epoch = position.epoch
        self.model.start_epoch(epoch)
        for batch in self.watch.waiting(self.loader.epoch(epoch, position.done)):
            distributed.seed_step(opt.seed, position.total)
            try:
                terms = self.model.train_step(batch)
            except Diverged as error:
                raise distributed.error_on_rank_zero(Diverged(f"epoch {epoch}: {error}")) from error
            count = batch["count"]
            position.done, position.total = position.done + count, position.total + count
            self.watch.pictures += count
            self.progress.update(count, epoch=(epoch, self.epochs), waiting=self.watch.share)
            self.show(terms, count)
            if interrupts.should_stop():
                break
            if self.due(opt.save_latest_freq, count) or self.overdue():
                self.save()
        if position.done >= len(self.loader):
            position.epoch, position.done = epoch + 1, 0
            best = self.validate(epoch) if self.validation and self.validation.due(epoch) else None
            if best or epoch % opt.save_epoch_freq == 0:
                self.save(epoch if epoch % opt.save_epoch_freq == 0 else None, best)
                self.checkpoint.prune(opt.keep_checkpoints)

    def validate(self, epoch) -> dict | None:
        """Validate on held-out pictures. Returns, on all ranks, the record of the checkpoint if it is the best so far."""
        found, folder = self.validation.run(epoch, self.position.total), self.checkpoint.folder
        best = distributed.broadcast_result(lambda: validation.improved(found, self.checkpoint.best))
        if found:
            validation.log(folder, found)
            known = best or self.checkpoint.best
            self.visualizer.show_validation(found, validation.read_log(folder), known and known["epoch"])
        return best

    def show(self, terms, count):
        """Log the losses and update the page, at the intervals of the flags."""
        position, opt = self.position, self.opt
        if self.due(opt.print_freq, count):
            seconds, waited = self.watch.read()
            rates = self.model.learning_rates()
            extra = {"data": f"{waited:.0%}", **{name: f"{rate:.4g}" for name, rate in rates.items()}}
            if self.model.skipped:
                extra["skipped"] = self.model.skipped
            if opt.verbose:
                extra |= {f"norm_{name}": f"{norm:.3g}" for name, norm in self.model.gradient_norms().items()}
            self.visualizer.print_current_errors(position.epoch, position.done, terms, seconds, extra)
            self.visualizer.plot_current_errors({**terms, **rates}, position.total)
        if self.due(opt.display_freq, count) or self.shown is None:  # the page is there from the first step on
            self.display()

    def display(self):
        """Show the newest pictures on the page."""
        epoch, self.shown = self.position.epoch - (self.position.done == 0), self.position.total
        visuals = self.model.current_visuals()
        self.visualizer.display_current_results(visuals, epoch, self.position.total, self.preview.draw())

    def last_page(self, ended):
        """Refresh the page for the last step. ended: the sentence there about the end of the training."""
        if self.shown not in (None, self.position.total):
            self.display()
        self.visualizer.close(ended)

    def due(self, frequency, count) -> bool:
        """Whether the last `count` pictures crossed a multiple of `frequency`."""
        total = self.position.total
        return total // frequency > (total - count) // frequency

    def overdue(self) -> bool:
        """Whether --save_time has passed in any process, so that all save after the same step."""
        return self.opt.save_time < INF and bool(distributed.all_reduce_max(time.monotonic() > self.save_at))

    def save(self, epoch=None, best=None):
        """Save the latest checkpoint, with `epoch` one that is kept, and with `best` as the best one.

        Rank 0 writes; if it fails, all processes end. Raises UserError, and writes nothing, if the processes' weights differ.
        """
        self.saved, fault = self.position.total, None
        distributed.require_same(self.model.fingerprint)
        try:
            self.checkpoint.save(self.model, self.position, epoch, best)
        except UserError as error:
            fault = error
        if fault := distributed.any_fault(fault):
            raise distributed.error_on_rank_zero(fault)
        self.save_at = time.monotonic() + 60 * self.opt.save_time

    def stopped(self, interrupts) -> int:
        """Save after a signal, and print the command that resumes the training."""
        self.save()
        again = shlex.join(["python", *self.again])
        print(f"Saved after {self.position.done} pictures of epoch {self.position.epoch}. To go on:\n    {again}")
        self.last_page(f"Interrupted. To go on: {again}")
        return interrupts.exit_status

    def finished(self) -> int:
        """Save at the end of the training and show its last pictures."""
        self.save()
        self.last_page("Training has ended.")
        print(f"Trained for {self.epochs} epochs: {self.checkpoint.folder}")
        if not self.opt.no_html:
            print(f"Page: {self.checkpoint.folder / 'web' / 'index.html'}")
        return 0
