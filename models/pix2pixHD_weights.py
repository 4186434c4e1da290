"""Reading the flags of pix2pixHD's networks off the names and shapes of their weights."""
from __future__ import annotations

import re


def flags_of_weights(states: dict[str, dict]) -> dict:
    """{flag: value}, as far as names and shapes of weights tell them. states: {network: its state dict}."""
    read = {"E": _flags_of_encoder, "D": _flags_of_discriminator, "G": _flags_of_generator}
    found = {flag: value for name, of in read.items() if name in states for flag, value in of(states[name]).items()}
    if found.get("norm_E") == found.get("norm"):
        found.pop("norm_E", None)  # the default, which is --norm
    return found


def describe(name: str, state: dict) -> str:
    """A message with the flags of the network `name` that a state dict belongs to; '' if it does not tell any."""
    found = flags_of_weights({name: state})
    words = [f"--{flag}" if value is True else f"--{flag} {value}" for flag, value in found.items() if value is not False]
    if name == "G" and words and "model.1.weight" in state:
        words.append(f"and {state['model.1.weight'].shape[1]} input channels (label_nc, +1 with --contain_dontcare_label, +1 "
                     "without --no_instance, + feat_num with --label_feat or --instance_feat)")
    return f"its shapes say {' '.join(words)}" if words else ""


def _flags_of_generator(state) -> dict:
    if "colour.weight" in state:
        blocks = len({k.split(".")[1] for k in state if k.startswith("blocks.")})
        return {"netG": "region", "output_nc": state["last.weight"].shape[0], "ngf": state["last.weight"].shape[1],
                "n_up": blocks - 1, "ngf_max": state["first.weight"].shape[0],
                "norm_G": "spade" if "blocks.0.norm1.shared.weight" in state else "region"}
    convolutions = _convolutions(state, "model")
    if not convolutions:
        return {}
    enhancers = len({m[1] for k in state if (m := re.match(r"model(\d+)_1\.", k))})
    found = {"netG": "local" if enhancers else "global", "ngf": convolutions[0].shape[0] // 2 ** enhancers,
             "n_downsample_global": _halvings(convolutions), "n_blocks_global": _blocks(state, "model")}
    if enhancers:
        found |= {"n_local_enhancers": enhancers, "n_blocks_local": _blocks(state, "model1_2")}
        convolutions += _convolutions(state, f"model{enhancers}_2")
    found |= _flags_of_layers(state, convolutions)
    places = {k.partition(".conv_block.")[2]: v.ndim for k, v in state.items() if k.endswith(".weight")}
    if "1.weight" in places:  # dropout moves the second convolution from place 5 to 6
        found["use_dropout"] = places.get("6.weight") == 4
    return {**found, "output_nc": convolutions[-1].shape[0]}


def _flags_of_encoder(state) -> dict:
    if "mu.convs.0.weight" in state:
        photo = state["mu.convs.0.weight"]
        scales = len({k.split(".")[1] for k in state if k.startswith("scales.")})
        return {"nef": state["scales.0.0.weight"].shape[0], "n_downsample_E": scales - 1, "output_nc": photo.shape[1],
                "feat_num": photo.shape[0], "use_vae": "logvar.convs.0.weight" in state}
    convolutions = _convolutions(state, "model")
    if not convolutions:
        return {}
    found = _flags_of_layers(state, convolutions)
    norm = found.pop("norm")
    return {"nef": convolutions[0].shape[0], "n_downsample_E": _halvings(convolutions), "output_nc": convolutions[0].shape[1],
            "feat_num": convolutions[-1].shape[0], **found, "use_vae": "logvar.conv.weight" in state,
            **({"norm_E": norm} if norm == "batch" else {})}  # instance and none look alike


def _flags_of_discriminator(state) -> dict:
    if "first.parametrizations.weight.original" in state:
        return {"netD": "segmentation", "ndf": state["first.parametrizations.weight.original"].shape[0],
                "n_layers_D": len({k.split(".")[1] for k in state if k.startswith("down.")})}
    matched = "layer0.0.weight" not in state  # with intermediate features, that have names of their own
    finest = [v for k, v in state.items() if k.startswith("scale0_layer" if matched else "layer0.") and v.ndim == 4]
    if not finest:
        return {}
    scales = {m[0] for k in state if (m := re.match(r"(scale|layer)\d+", k))}
    return {"ndf": finest[0].shape[0], "num_D": len(scales), "n_layers_D": len(finest) - 2, "no_ganFeat_loss": not matched}


def _convolutions(state, part: str) -> list:
    """The weights of the convolutions of `part` in order, those in residual blocks left out."""
    found = {int(m[1]): v for k, v in state.items() if (m := re.fullmatch(rf"{part}\.(\d+)\.weight", k)) and v.ndim == 4}
    return [found[place] for place in sorted(found)]


def _blocks(state, part: str) -> int:
    """The residual blocks of `part`."""
    return sum(bool(re.fullmatch(rf"{part}\.\d+\.conv_block\.1\.weight", k)) for k in state)


def _halvings(convolutions) -> int:
    """Those after the first that double the width."""
    widths = [convolutions[0].shape[0] * 2 ** i for i in range(len(convolutions))]
    doubling = [tuple(v.shape) == (2 * width, width, 3, 3) for width, v in zip(widths, convolutions[1:])]
    return [*doubling, False].index(False)


def _flags_of_layers(state, convolutions) -> dict:
    """What the layers of a whole network show: a transposed convolution's weight has its inputs first."""
    resized = any(v.shape[1] == 2 * v.shape[0] and v.shape[2] == 3 for v in convolutions[1:])
    return {"norm": "batch" if any(k.endswith(".weight") and v.ndim == 1 for k, v in state.items()) else "instance",
            "upsample": "resize" if resized else "transpose", "feat_skip": "skip.conv.weight" in state}
