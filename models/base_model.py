"""The base of all models: the training step, weights and training state, and the interface of inference."""
from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data.base_dataset import Needs
from data.data_loader import dataset_class
from models import precision, weights
from models.averages import WeightAverages
from models.networks import build
from models.networks.recompute import checkpoint_activations
from util import distributed
from util.checkpoint import read_consistently, trained
from util.device import autocast, compile_network, device_of, expect_sizes, laid_out_as
from util.errors import Diverged, UserError, first_few
from util.experiment import experiment_folder
from util.gradient_exchange import GradientExchange

_MAX_OVERFLOWS = 50  # consecutive fp16 steps that overflow, after which training is given up
_ABOUT_FLAGS = ("modify_commandline_options", "settle_defaults", "check_options", "flags_of_weights", "start_from")


class BaseModel(nn.Module, ABC):
    """A model: its flags, networks, losses and inference. A new one is one file and a line in models.MODELS.

    nets: the networks, by the name in their files ('G', 'D', 'E'). optimizers: one for each update, by its name; networks in
        none of them are saved, but not trained. averages: with --ema, the averaged networks. steps: training steps done.
    loss_scale: {update: factor of its total loss} (the log shows the terms without it).
    max_norm: {update: maximum 2-norm of its gradients, to which they are clipped}.
    abilities: which of ABILITIES the model has, beside training and inference.

    A class statement with `flags=module` takes the static methods about flags from there, so that --help need not import torch.
    The constructor only stores the options; `setup` then builds, loads and prepares the model, in steps that subclasses extend.
    """

    loss_scale: dict[str, float] = {}
    max_norm: dict[str, float] = {}
    abilities: frozenset[str] = frozenset()
    dataset_mode = "aligned"  # the default of --dataset_mode
    marks_pictures = False  # whether files of its pictures say that they were made
    may_start_fresh: tuple[str, ...] = ()  # networks that are initialised if --load_pretrain has no weights of them

    def __init__(self, opt):
        super().__init__()
        self.opt, self.device = opt, device_of(opt.gpu_ids)
        self.notes: list[str] = []
        self.nets = nn.ModuleDict()
        self.digests: dict[str, str] = {}  # {network: digest of its weights}, where it is known or its form was replaced
        self.more_figures: dict = {}  # measured beside those of the pictures, for metrics.json
        self._files: dict[str, Path] = {}  # {network: file that its weights were loaded from}
        self._trained: dict = {}
        self.averages: WeightAverages | None = None
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._exchanges: dict[str, GradientExchange] = {}  # one for each update
        self.precision = precision.of_model(self)
        self.steps = 0
        self.on_step: Callable | None = None  # on_step(done, steps, pictures), while drawing pictures that take several steps
        self.skipped = self._skipped_in_a_row = 0  # fp16 steps that overflowed
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    # setting up

    def setup(self) -> BaseModel:
        """Build, load and compile the networks, and prepare for the role; called once, by `create_model`."""
        torch.manual_seed(self.opt.seed)
        self.load_networks()
        self.to(self.device)
        if self.opt.compile:
            for net in self.networks_to_compile():
                compile_network(net, self.precision)
        if self.opt.role == "train":
            self.start_training()
            self._check_names_of_updates()
        else:
            self.start_inference()
        return self

    def start_training(self) -> None:
        """Prepare for training: make optimizers and averages; subclasses add their losses."""
        opt = self.opt
        expect_sizes(self.device, opt.resize_or_crop)
        if opt.checkpoint_activations:
            checkpoint_activations(self.nets)
        self.optimizers = self.make_optimizers()
        trained = {id(p) for optimizer in self.optimizers.values() for group in optimizer.param_groups for p in group["params"]}
        for p in self.nets.parameters():
            p.requires_grad_(id(p) in trained)
        if opt.ema:
            self.averages = WeightAverages({name: self.nets[name] for name in self.inference_networks()}, opt.ema)

    def _check_names_of_updates(self) -> None:
        """Raise TypeError where updates, optimizers, `max_norm` and `loss_scale` do not go by the same names."""
        names = {"updates": dict(self.updates()), "max_norm": self.max_norm, "loss_scale": self.loss_scale}
        for what, given in names.items():
            if unknown := set(given) - set(self.optimizers):
                raise TypeError(f"{type(self).__name__}.{what} names {', '.join(sorted(unknown))}, but make_optimizers gives "
                                f"{', '.join(self.optimizers) or 'none'}")

    def start_inference(self) -> None:
        """Prepare for inference and encoding."""
        self.eval().requires_grad_(False)

    # the interface of a model

    def __init_subclass__(cls, flags=None, **others):
        """flags: a module that has the static methods about flags, or some of them."""
        super().__init_subclass__(**others)
        for name in _ABOUT_FLAGS:
            if hasattr(flags, name):
                setattr(cls, name, staticmethod(getattr(flags, name)))

    @staticmethod
    def modify_commandline_options(parser, is_train: bool) -> None:
        """Add the model's own flags, in a group of their own."""

    @staticmethod
    def settle_defaults(values: dict, sources: dict) -> None:
        """Change values that no source gives (those whose source is 'default') and that follow from others, in place."""

    @staticmethod
    def check_options(opt) -> None:
        """Raise UserError for flags that conflict."""

    @staticmethod
    def flags_of_weights(states: dict[str, dict]) -> dict:
        """{flag: value}, as far as names and shapes of weights tell them. states: {network: its state dict}."""
        return {}

    @staticmethod
    def start_from(known: dict, typed: dict, where: str) -> dict:
        """The flags that a training takes over from the weights of --load_pretrain, if the flags `typed` are given.

        known: the architecture flags found in `where`. Raises UserError for weights that such a training cannot use.
        """
        return known

    @staticmethod
    def needs(opt) -> Needs:
        """What the current command needs of a data set; it is stored as opt.needs."""
        return Needs()

    @abstractmethod
    def networks(self) -> dict:
        """{name: function that constructs the network} of the networks that opt.role needs."""

    def inference_networks(self) -> list[str]:
        """The networks that inference uses, which --ema averages."""
        return list(self.nets)

    def networks_to_compile(self) -> list[nn.Module]:
        """The networks that --compile compiles: of each, either all gradients are needed or none."""
        return list(self.nets.values())

    def example_layers(self) -> tuple[nn.Module, torch.Tensor]:
        """Layers like those in which the networks spend their time, and an input (1, C, H, W), to time precisions with."""
        conv = nn.Conv2d(128, 128, 3, padding=1)
        return nn.Sequential(conv, nn.BatchNorm2d(128), nn.ReLU(), conv), torch.randn(1, 128, 64, 64)

    @abstractmethod
    def make_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """An optimizer for each update, by its name."""

    @abstractmethod
    def prepare(self, batch) -> None:
        """Move a batch to the device, in the form that losses and inference use."""

    @abstractmethod
    def updates(self):
        """((name, loss function), ...): each function gives {term: scalar}, already weighted; their sum is minimised.

        All are computed, in this order, before any optimizer steps.
        """

    @abstractmethod
    def inference(self, batch) -> dict[str, torch.Tensor]:
        """Without gradients, in evaluation mode: {'synthesized_image': float32 (N, C, H, W) in [-1, 1], ...}."""

    @abstractmethod
    def current_visuals(self) -> dict[str, np.ndarray]:
        """The first picture of the last training step: {label: (H, W, 3) uint8}."""

    @abstractmethod
    def result_visuals(self, batch, outputs, i: int) -> dict[str, np.ndarray]:
        """The columns of picture i of a batch on the result page: {label: (H, W, 3) uint8}."""

    def shown_classes(self, outputs, i: int):
        """The classes that the results of picture i show, for the page's legend, in addition to those of the data set."""
        return ()

    @staticmethod
    def unpadded(image: np.ndarray, batch, i: int) -> np.ndarray:
        """(H, W, ...) of picture i without the padding of --resize_or_crop pad."""
        width, height = batch["size"][i] if "size" in batch else image.shape[1::-1]
        return image[:height, :width]

    def aims_at_truth(self) -> bool:
        """Whether what `inference` draws aims at the true picture, so that figures may compare the two."""
        return True

    def drawn_with(self) -> str:
        """How the flags chose what the input leaves open, such as styles, for people; '' where it leaves nothing open."""
        return ""

    @staticmethod
    def aimed(opt):
        """The options with which drawing aims at the truth, so that the two can be compared; None where flags rule it out."""
        return opt

    def sources(self) -> dict[str, str]:
        """{file: its hash} of all that a drawing follows from, beside the batch and the flags."""
        return {path.name: self._digest(name) for name, path in self._files.items()}

    def evaluation_metrics(self, text: str, available):
        """The figures that --metrics asks for of what there is (see util.metrics.registry), a MetricSet."""
        from util.metrics import registry
        return registry.create(text, available)

    def sampled_inference(self, batch) -> dict[str, torch.Tensor]:
        """The looks that --n_samples asks for, none of which takes its photo's features."""
        return self.inference(batch)

    def looks(self, batch, outputs, i: int) -> np.ndarray:
        """(n, H, W, 3) uint8: all drawings of picture i."""
        visuals = self.result_visuals(batch, outputs, i)
        return np.stack([image for key, image in visuals.items() if key.startswith("synthesized_image")])

    def aimed_inference(self, batch) -> dict[str, torch.Tensor]:
        """Inference that aims at the truth, so that the two can be compared: of a photo with that photo's own features."""
        return self.inference(batch)

    def compared(self, batch, outputs, i: int, visuals: dict | None = None) -> dict:
        """What figures compare of picture i: 'drawn', and where there are such 'true' and 'label' (see util.metrics).

        visuals: what `result_visuals` gave, if it is at hand.
        """
        visuals = visuals or self.result_visuals(batch, outputs, i)
        found = {"drawn": visuals["synthesized_image"]}
        if "real_image" in visuals:
            found["true"] = visuals["real_image"]
        label = batch["label"][i] if "label" in batch else None
        if self.opt.label_nc and torch.is_tensor(label):
            found["label"] = self.unpadded(label[0].numpy(), batch, i)
        return found

    def validation_metrics(self, names: str | None):
        """The figures of held-out pictures, a util.metrics.collection.MetricSet.

        names: --val_metrics; None for all that apply and need no weights.
        """
        from util.metrics import registry
        opt = self.opt
        label = bool(opt.label_nc) and "label" in dataset_class(opt.dataset_mode).batch_keys
        available = registry.Available(label=label, spec=opt.spec, seed=opt.seed, device=self.device)
        default = ",".join(name for name in registry.WITHOUT_WEIGHTS if not registry.lacking(name, available))
        return registry.create(names or default, available, "--val_metrics")

    @contextlib.contextmanager
    def as_at_test(self):
        """Within it the model draws as at test, with averaged weights if it has any; it leaves the training as it was."""
        training, trained = self.training, dict(self.nets)
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            if self.averages is not None:
                self.nets.update(self.averages.nets)
            try:
                yield
            finally:
                self.nets.update(trained)
                self.train(training)

    def new_metrics(self):
        """What collects the figures of test.py from what `compared` gives, or None."""
        return

    def more_pages(self, page, metrics) -> None:
        """Add what test.py shows beside its rows to a `util.result_page.ResultPage`. metrics: that of `new_metrics`, filled."""

    def start_epoch(self, epoch: int) -> None:
        """Set learning rates and frozen parts, which depend on the epoch only."""

    def linear_decay(self, epoch: int) -> float:
        """pix2pixHD's schedule: the factor of the learning rate, 1 for --niter epochs, then falling over --niter_decay ones."""
        return 1 - max(0, epoch - self.opt.niter - 1) / max(1, self.opt.niter_decay)

    def start_step(self, step: int) -> None:
        """Set what depends on the step, such as a learning rate. step: number of steps done, including resumed runs."""

    def after_step(self) -> None:
        """Called after the optimizers' steps."""

    def extra_state(self) -> dict:
        """Additional state for an exact resume, as tensors and plain values."""
        return {}

    def load_extra_state(self, state: dict) -> None:
        """Restore the state of extra_state."""

    def weights_hint(self, name: str, state: dict) -> str:
        """The flags of the network that a state dict belongs to, read from its shapes; '' if they do not tell."""
        return ""

    # the step

    def train_step(self, batch) -> dict[str, torch.Tensor]:
        """One step of all updates on a batch. -> {term: detached scalar}. Raises Diverged for a term that is not finite."""
        self.train()
        self.start_step(self.steps)
        for optimizer in self.optimizers.values():  # before the forward pass, whose activations reuse the memory
            optimizer.zero_grad(set_to_none=True)
        self.prepare(batch)
        losses = [(name, _loss_terms(name, loss())) for name, loss in self.updates()]
        terms = {key: value.detach().float() for _, found in losses for key, value in found.items()}
        weight = batch.get("weight", 1.0)
        terms = dict(zip(terms, distributed.weighted_sum(torch.stack(list(terms.values())), weight)))
        self._check_finite(terms, batch)
        totals = [(name, sum(found.values()) * self.loss_scale.get(name, 1.0)) for name, found in losses]
        del losses
        pending = [(name, self._backward(name, total, weight, keep_graph=True)) for name, total in reversed(totals[1:])]
        if self._stores_all_gradients():
            pending.append((totals[0][0], self._backward(*totals[0], weight, keep_graph=False)))
        else:
            self._backward_and_step(*totals[0])
        for name, exchange in pending:
            exchange.finish()
            self._clip(name)
            self.scaler.step(self.optimizers[name])
        self._update_scale(batch)
        if self.averages is not None:
            self.averages.update(self.nets, self.steps)
        self.steps += 1
        self.after_step()
        return terms

    def _stores_all_gradients(self) -> bool:
        """Whether all gradients are needed before the step: to exchange, clip or show them, or to detect overflows.

        And on a GPU, where a separate step for each parameter would be slower.
        """
        shared = self.device.type != "cpu" or distributed.world_size() > 1
        return shared or self.scaler.is_enabled() or self.opt.verbose or bool(self.max_norm)

    def _backward_and_step(self, name: str, total: torch.Tensor) -> None:
        """The last backward pass, in which each parameter is stepped and its gradient freed as soon as it is complete.

        So the gradients are never in memory together. Valid because nothing in the rest of the pass uses the parameter.
        """
        optimizer = self.optimizers[name]

        def step(parameter):
            parameter.grad = laid_out_as(parameter, parameter.grad)
            optimizer.step()
            parameter.grad = None

        wanted = _trained(optimizer)
        hooks = [p.register_post_accumulate_grad_hook(step) for p in wanted]
        try:
            torch.autograd.backward(total, inputs=wanted)
        finally:
            for hook in hooks:
                hook.remove()

    def _clip(self, name: str) -> None:
        """Clip the gradients of an update to its `max_norm`, if it has one."""
        if name in self.max_norm:
            self.scaler.unscale_(self.optimizers[name])
            torch.nn.utils.clip_grad_norm_(_trained(self.optimizers[name]), self.max_norm[name])

    def _update_scale(self, batch) -> None:
        """With fp16, update the loss scale, and count steps that were skipped because of an overflow."""
        if not self.scaler.is_enabled():
            return
        before = self.scaler.get_scale()
        self.scaler.update()
        overflowed = self.scaler.get_scale() < before
        self.skipped += overflowed
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if overflowed else 0
        if self._skipped_in_a_row > _MAX_OVERFLOWS:
            raise Diverged(f"training diverged: {_MAX_OVERFLOWS} fp16 steps in a row overflowed, the last one for "
                           f"{first_few(batch['path'])}; the last checkpoint is untouched; go on from it with "
                           "--continue_train and --precision bf16 or a lower --lr")

    def learning_rates(self) -> dict[str, float]:
        """{'lr': the learning rate of the optimizers' first parameters}, or where they differ 'lr_G' and so on."""
        rates = {f"lr_{name}": optimizer.param_groups[0]["lr"] for name, optimizer in self.optimizers.items()}
        return rates if len(set(rates.values())) != 1 else {"lr": min(rates.values())}

    def gradient_norms(self) -> dict[str, float]:
        """{update: 2-norm of all of its last gradients}."""
        return {name: float(torch.nn.utils.get_total_norm([p.grad for group in optimizer.param_groups for p in group["params"]
                                                           if p.grad is not None]))
                for name, optimizer in self.optimizers.items()}

    def _backward(self, name: str, total: torch.Tensor, weight: float, keep_graph: bool) -> GradientExchange:
        """A backward pass for the parameters of one update only; once the exchange is finished, over the global batch."""
        wanted, exchange = _trained(self.optimizers[name]), self._exchanges.setdefault(name, GradientExchange())
        with exchange.during_backward(wanted, weight):
            torch.autograd.backward(self.scaler.scale(total), inputs=wanted, retain_graph=keep_graph)
        return exchange

    def _check_finite(self, terms: dict, batch) -> None:
        if self.scaler.is_enabled() or torch.isfinite(torch.stack(list(terms.values()))).all():
            return  # with fp16 the scaler skips steps that overflow
        wrong = ", ".join(f"{key} is {value.item()}" for key, value in terms.items() if not torch.isfinite(value))
        raise Diverged(f"training diverged: {wrong} for {first_few(batch['path'])}; the last checkpoint is untouched; go on "
                       "from it with --continue_train and a lower --lr")

    def autocast(self):
        """A context for the precision of the networks."""
        return autocast(self.device, self.precision)

    # weights and state

    def weights_used(self) -> dict:
        """The origin of the weights that are used, as plain values, for pages and records.

        experiment, epoch: from which they were loaded. averaged: whether they are averages of --ema. trained: how long (see
        `util.checkpoint.trained`), {} if unknown. hashes: {network: the first 8 digits of `weights.digest`} of the weights in
        memory.
        """
        folder = next((path.parent for path in self._files.values()), experiment_folder(self.opt))
        return {"experiment": folder.name, "epoch": self.opt.which_epoch, "trained": self._trained,
                "averaged": any(path.stem.endswith("_ema") for path in self._files.values()),
                "hashes": {name: self._digest(name)[:8] for name in self._files}}

    def _digest(self, name: str) -> str:
        return self.digests.get(name) or weights.digest(self.nets[name].state_dict())

    def weights(self) -> dict[str, dict]:
        """{network: its state dict, on the CPU}; with --ema the averaged ones too, as 'G_ema'."""
        averaged = {f"{name}_ema": net for name, net in self.averages.nets.items()} if self.averages is not None else {}
        return {name: {k: v.detach().cpu() for k, v in net.state_dict().items()}
                for name, net in {**self.nets, **averaged}.items()}

    def state(self) -> dict:
        """The training state, without weights, for an exact resume."""
        state = {"optimizers": {name: o.state_dict() for name, o in self.optimizers.items()}, "steps": self.steps,
                 "scaler": self.scaler.state_dict(), "extra": self.extra_state(), "torch_rng": torch.get_rng_state()}
        if self.device.type != "cpu":
            state[f"{self.device.type}_rng"] = torch.get_device_module(self.device).get_rng_state()
        return state

    def fingerprint(self, moments: bool = False) -> dict[str, str]:
        """{description: hash} of each network's weights, and with `moments` of each optimizer's, to compare processes."""
        found = {f"the weights of {name}": weights.digest(dict(net.named_parameters())) for name, net in self.nets.items()}
        for name, optimizer in self.optimizers.items() if moments else ():
            state = optimizer.state_dict()["state"]
            found[f"the moments of {name}"] = weights.digest({f"{i}.{key}": value for i, of_one in state.items()
                                                              for key, value in of_one.items()})
        return found

    def load_state(self, state: dict) -> None:
        """Restore the state of state(). Raises UserError if it belongs to other networks."""
        try:
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
                _fit_moments(optimizer)
            self.steps = int(state.get("steps", state.get("extra", {}).get("steps", 0)))
            if state.get("scaler"):
                self.scaler.load_state_dict(state["scaler"])
            self.load_extra_state(state.get("extra", {}))
            if self.averages is not None:
                self._load_averages()
            torch.set_rng_state(state["torch_rng"])
            if f"{self.device.type}_rng" in state:
                torch.get_device_module(self.device).set_rng_state(state[f"{self.device.type}_rng"])
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(f"latest_state.pth: does not belong to these networks ({error}); delete it to resume from the "
                            "weights alone") from error

    def _load_averages(self) -> None:
        """Load the averages of the last checkpoint; if it has none, they start from the current weights."""
        folder = experiment_folder(self.opt)
        names = {name: f"{self.opt.which_epoch}_net_{name}_ema.pth" for name in self.averages.nets}
        found = read_consistently(folder, names.values())
        for name, file in names.items():
            if file in found:
                weights.load(self.averages.nets[name], name, folder / file, False, self.weights_hint, found.pop(file))
        self.averages.to(self.device).requires_grad_(False)

    def load_networks(self) -> None:
        """Build the networks, initialised or with an experiment's weights; for inference with averaged ones, if it has any."""
        opt = self.opt
        training = opt.role == "train"
        own = experiment_folder(opt)
        pretrain = Path(opt.load_pretrain) if getattr(opt, "load_pretrain", "") else None
        resume = not training or opt.continue_train
        folder = pretrain or (own if resume else None)
        networks = self.networks()
        if folder is None:
            self.nets.update({name: build(make) for name, make in networks.items()})
            return
        averaged = not (training or opt.no_ema)
        paths = {name: weights.file_of(folder, opt.which_epoch, name, averaged) for name in networks}
        saved = read_consistently(folder, [path.name for path in paths.values()])
        self._trained = next(map(trained, paths.values()), {})
        for name, make in networks.items():
            net, path, partial = build(make, fresh=training and not resume), paths[name], training and not resume
            if path.name in saved:
                weights.load(net, name, path, partial, self.weights_hint, saved.pop(path.name))
                self._files[name] = path
            elif partial and name in self.may_start_fresh and folder.is_dir():
                print(f"{path}: is not there, so network {name} starts fresh")
            else:
                raise UserError(weights.missing(name, path))
            self.nets[name] = net


def _loss_terms(name: str, found) -> dict[str, torch.Tensor]:
    """What a loss function gave, if it is what `updates` asks for; else TypeError."""
    if not isinstance(found, dict) or not all(torch.is_tensor(value) and value.ndim == 0 for value in found.values()):
        raise TypeError(f"the loss of update {name} gave {found!r:.200}, but {{term: scalar tensor}} is needed")
    return found


def _trained(optimizer) -> list[torch.Tensor]:
    """The parameters of an optimizer that are not frozen."""
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]


def _fit_moments(optimizer) -> None:
    """Give loaded moments the memory layout of their parameter. Raises ValueError if the shape differs.

    PyTorch loads moments of any shape and strides. Fused kernels go through weight, gradient and moments in memory order: if
    strides differ, CUDA raises an error, and a CPU combines the wrong elements.
    """
    for p, moments in optimizer.state.items():
        for key, value in moments.items():
            if not torch.is_tensor(value) or not value.ndim:
                continue
            if value.shape != p.shape:
                raise ValueError(f"{key} is {tuple(value.shape)} for a parameter of {tuple(p.shape)}")
            moments[key] = laid_out_as(p, value)
