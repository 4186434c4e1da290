"""Draw README's first picture: one held-out sample face, drawn by a trained model and changed twice.

    python scripts/opening_picture.py --experiment checkpoints/faceIm --out docs/edit.jpg
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
FACES = ROOT / "datasets" / "sample_faces"
SIDE, BAR, INSET = 300, 34, 96  # pixels: of a panel, of the line under it, of the edited label map in the last panel


def face(name: str, side: int) -> tuple[Image.Image, np.ndarray]:
    """(photo, label map (H, W) uint8) of a held-out sample face, at the size that the model was trained at."""
    photo, label = (Image.open(FACES / f"test_{kind}") for kind in (f"img/{name}.jpg", f"label/{name}.png"))
    return photo.resize((side, side), Image.BICUBIC), np.asarray(label.resize((side, side), Image.NEAREST))


def panels(predictor, name: str, hair: str, hat: str):
    """(text, picture) of each panel. name, hair, hat: the sample faces that are drawn, that lend hair, and that lend a hat."""
    import torch

    from util.util import tensor2label
    opt, label_of = predictor.opt, predictor.opt.spec.label_of
    (photo, label), of_hair, of_hat = (face(each, opt.loadSize) for each in (name, hair, hat))
    style = predictor.encode(photo, label)
    changed = {**style, "hair": predictor.encode(*of_hair)["hair"]}
    edited = np.where(of_hat[1] == label_of("hat"), of_hat[1], label)

    def shown(ids):
        ids = torch.tensor(ids)[None]
        return Image.fromarray(tensor2label(ids, opt.label_channels, colors=opt.spec.class_colors or None))

    last = predictor(edited, style={**changed, "hat": predictor.encode(*of_hat)["hat"]}).resize((SIDE, SIDE), Image.LANCZOS)
    last.paste(shown(edited).resize((INSET, INSET), Image.NEAREST), (SIDE - INSET - 8, SIDE - INSET - 8))
    return [("a label map", shown(label)), ("drawn in a photo's style", predictor(label, style=style)),
            ("with another's hair", predictor(label, style=changed)), ("with a hat added to the map", last)]


def strip(found) -> Image.Image:
    """The panels side by side, with their texts under them."""
    canvas = Image.new("RGB", (len(found) * SIDE + (len(found) - 1) * 8, SIDE + BAR), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(17)
    for i, (text, picture) in enumerate(found):
        x = i * (SIDE + 8)
        canvas.paste(picture.resize((SIDE, SIDE), Image.NEAREST if i == 0 else Image.LANCZOS), (x, 0))
        pen.text((x + SIDE / 2, SIDE + BAR / 2), text, fill="#333", font=font, anchor="mm")
    return canvas


def main(arguments=None) -> int:
    """The program; returns its exit status."""
    from models.predictor import Predictor
    from options.flags import FlagParser
    parser = FlagParser(description=__doc__)
    parser.add_argument("--experiment", required=True, metavar="DIR", help="a model trained with --label_feat")
    parser.add_argument("--out", default="docs/edit.jpg", metavar="FILE", help="the picture")
    parser.add_argument("--faces", nargs=3, default=["0022", "0012", "0019"], metavar="NAME", help="held-out sample faces: "
                        "the one that is drawn, the one that lends its hair, and the one that lends its hat")
    args = parser.parse_args(arguments)
    predictor = Predictor.load(args.experiment, gpu_ids="-1", dataroot=str(FACES))
    strip(panels(predictor, *args.faces)).save(args.out, quality=88)
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
