"""What names and shapes of a UNet's weights tell of its flags."""
from __future__ import annotations

NETWORK = "U"


def flags_of_weights(states: dict[str, dict]) -> dict:
    """{flag: value} of the UNet among the networks; {} where there is none. states: {network: its state dict}.

    The width of attention's heads, the schedule and the objective do not show.
    """
    state = states.get(NETWORK, {})
    first, last = state.get("input_blocks.0.0.weight"), state.get("out.2.weight")
    if first is None or last is None or first.ndim != 4:
        return {}
    stages = len(_stages(state, "input_blocks"))
    levels = 1 + sum(sum(f"output_blocks.{i}.{j}.in_layers.2.weight" in state for j in range(3)) > 1
                     for i in _stages(state, "output_blocks"))  # all but one end in a block that doubles the size
    blocks = stages // levels - 1
    starts = [1 + i * (blocks + 1) for i in range(levels)]
    if any(f"input_blocks.{start}.0.out_layers.3.weight" not in state for start in starts):
        return {}
    widths = [state[f"input_blocks.{start}.0.out_layers.3.weight"].shape[0] for start in starts]
    channels = state["time_embed.0.weight"].shape[1]
    attention = [2 ** i for i, start in enumerate(starts) if f"input_blocks.{start}.1.qkv.weight" in state]
    return {"unet_channels": channels, "unet_mult": ",".join(str(width // channels) for width in widths),
            "unet_blocks": blocks, "unet_attention": ",".join(map(str, attention)) or "none",
            "learn_sigma": last.shape[0] > first.shape[1], "output_nc": first.shape[1], "condition": _condition(state)}


def _stages(state, part: str) -> set[str]:
    return {key.split(".")[1] for key in state if key.startswith(f"{part}.")}


def _condition(state) -> str:
    if "attribute_embed.weight" in state:
        return "attributes"
    return "label" if any(".label_layers." in key for key in state) else "none"


def describe(states: dict[str, dict]) -> str:
    """The same for people; '' where nothing is told."""
    found = flags_of_weights(states)
    words = [f"--{flag}" * bool(value) if isinstance(value, bool) else f"--{flag} {value}" for flag, value in found.items()]
    return f"its shapes say {' '.join(filter(None, words))}" if words else ""
