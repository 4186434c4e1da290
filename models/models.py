"""The registry of models, and `create_model`."""
from __future__ import annotations

import importlib

from util import distributed
from util.errors import UserError

MODELS = {"pix2pixHD": "models.pix2pixHD_model:Pix2PixHDModel", "parsing": "models.parsing_model:ParsingModel",
          "attributes": "models.attributes_model:AttributesModel", "vae": "models.vae_model:VAEModel",
          "gan": "models.gan_model:GANModel", "identity": "models.identity_model:IdentityModel",
          "diffusion": "models.diffusion_model:DiffusionModel",
          "simswap": "models.simswap_model:SimSwapModel"}
FLAGS = {"pix2pixHD": "models.pix2pixHD_flags", "parsing": "models.parsing_flags",
         "attributes": "models.attributes_flags", "vae": "models.vae_flags",
         "gan": "models.gan_flags", "identity": "models.identity_flags",
         "diffusion": "models.diffusion_flags", "simswap": "models.simswap_flags"}  # for --help without importing torch


def model_class(name: str):
    """The model registered as --model `name`. Raises UserError listing the known ones."""
    if name not in MODELS:
        raise UserError(f"--model {name}: there is no such model; choose from {', '.join(sorted(MODELS))}")
    module, attribute = MODELS[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def model_flags(name: str):
    """The module or class with modify_commandline_options and check_options of --model `name`: that in FLAGS, or the model.

    Raises UserError listing the known models.
    """
    return importlib.import_module(FLAGS[name]) if name in FLAGS else model_class(name)


ABILITIES = {"encode": "encode photos into styles", "feature_map": "write feature maps", "export_onnx": "be written as ONNX",
             "swap": "swap identities"}


def require(opt, ability: str) -> None:
    """Raise UserError if the model of the options lacks one of ABILITIES, naming the models that have it."""
    if ability in model_class(opt.model).abilities:
        return
    able = [name for name in sorted(MODELS) if ability in model_class(name).abilities]
    raise UserError(f"--model {opt.model}: cannot {ABILITIES[ability]}; choose an experiment of --model {' or '.join(able)}")


def create_model(opt):
    """The model that the options describe, on its device, with the weights that its role calls for.

    Training starts fresh, from --load_pretrain, or with --continue_train from the experiment, and of several processes
    each starts from what the first one has; everything else loads the experiment's weights. Raises UserError for weights that
    are missing or do not fit.
    """
    model = model_class(opt.model)(opt).setup()
    if opt.role == "train":
        distributed.broadcast_weights(model)
    if opt.verbose:
        for net in model.nets.values():
            from models.networks import print_network
            print_network(net)
    return model
