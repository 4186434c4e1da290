"""The networks, built by name from explicit arguments."""
from __future__ import annotations

import torch
from torch import nn

from models.networks.discriminator import MultiscaleDiscriminator
from models.networks.encoder import Encoder
from models.networks.generator import GlobalGenerator, LocalEnhancer
from models.networks.initial_weights import initialize
from models.networks.region import RegionGenerator
from models.networks.region_encoder import RegionEncoder
from util.errors import UserError

__all__ = ["build", "define_D", "define_G", "generator", "print_network"]


def define_G(input_nc, output_nc, ngf, netG, n_downsample_global=3, n_blocks_global=9, n_local_enhancers=1,  # noqa: N802,N803
             n_blocks_local=3, norm="instance", gpu_ids=(), **extensions) -> nn.Module:
    """A generator ('global' | 'local' | 'region') or a feature encoder ('encoder' | 'region_encoder'), with initial weights, on
    the first of gpu_ids.

    extensions: keywords of the networks' classes beyond pix2pixHD's (use_dropout, upsample, feat_skip, feat_nc, image_skip;
        n_up, ngf_max, edge_nc, one_hot, of_classes, norm_G of 'region').
    Raises UserError for an unknown netG.
    """
    return _place(build(lambda: generator(input_nc, output_nc, ngf, netG, n_downsample_global, n_blocks_global,
                                          n_local_enhancers, n_blocks_local, norm, **extensions)), gpu_ids)


def define_D(input_nc, ndf, n_layers_D, norm="instance", use_sigmoid=False, num_D=1, getIntermFeat=False,  # noqa: N802,N803
             gpu_ids=()) -> nn.Module:
    """A multiscale discriminator with initial weights, on the first of gpu_ids."""
    return _place(build(lambda: MultiscaleDiscriminator(input_nc, ndf, n_layers_D, norm, use_sigmoid, num_D,
                                                        getIntermFeat)), gpu_ids)


def generator(input_nc, output_nc, ngf, netG, n_downsample_global=3, n_blocks_global=9, n_local_enhancers=1,  # noqa: N803
              n_blocks_local=3, norm="instance", **extensions) -> nn.Module:
    """The network of define_G, before its weights are initialised."""
    if netG == "global":
        return GlobalGenerator(input_nc, output_nc, ngf, n_downsample_global, n_blocks_global, norm, **extensions)
    if netG == "local":
        return LocalEnhancer(input_nc, output_nc, ngf, n_downsample_global, n_blocks_global, n_local_enhancers,
                             n_blocks_local, norm, **extensions)
    if netG == "encoder":
        return Encoder(input_nc, output_nc, ngf, n_downsample_global, norm, **extensions)
    if netG == "region":
        return RegionGenerator(input_nc, output_nc, ngf, **extensions)
    if netG == "region_encoder":
        return RegionEncoder(input_nc, output_nc, ngf, n_downsample_global, **extensions)
    raise UserError(f"--netG {netG}: there is no such generator; choose global, local or region")


def build(make, fresh: bool = True) -> nn.Module:
    """Build a network on the meta device, so that no weights are initialised that are replaced at once.

    make() constructs it. fresh: give it initial weights (see initial_weights.py); else its weights stay on the meta device, for
    `load_state_dict(..., assign=True)`, and only buffers that are in no state dict are initialised. Raises RuntimeError naming
    a parameter or buffer that nothing initialises.
    """
    with torch.device("meta"):
        net = make()
    if fresh:
        return initialize(net.to_empty(device="cpu"))
    saved = net.state_dict()
    unsaved = {name: buffer for name, buffer in net.named_buffers() if name not in saved}
    for name, buffer in unsaved.items():
        module, _, name = name.rpartition(".")
        setattr(net.get_submodule(module), name, torch.empty_like(buffer, device="cpu"))
    return initialize(net) if unsaved else net


def _place(net: nn.Module, gpu_ids) -> nn.Module:
    return net.to(torch.device("cuda", gpu_ids[0]) if gpu_ids[0] != "mps" else "mps") if len(gpu_ids) else net


def print_network(net: nn.Module) -> None:
    """Show a network's layers and how many parameters it has."""
    print(net)
    print(f"Total number of parameters: {sum(p.numel() for p in net.parameters()):,}")
