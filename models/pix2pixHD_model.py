"""pix2pixHD: photo from label map (and features), Wang et al., CVPR 2018, arXiv:1711.11585."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models import pix2pixHD_flags as flags
from models.base_model import BaseModel
from models.losses.feature_matching import FeatureMatchingLoss
from models.losses.gan import GANLoss
from models.losses.perceptual import VGG_WEIGHTS, PyramidLoss, VGGLoss
from models.networks import MultiscaleDiscriminator, generator
from models.regions import Regions, edges, one_hot
from util.errors import UserError
from util.image_pool import ImagePool
from util.util import tensor2im, tensor2label


@dataclass
class Context:
    """A batch on the device, and what the step learns about it.

    condition: (N, C, H, W) one-hot labels (or the input picture) and edges. pooled_over: (N, 1, H, W) ids whose regions
    share a feature, or None. image: (N, C, H, W) in [-1, 1], or None. features: (N, feat_num, H, W) read from files, or
    None. source: what is shown as the input. fake, answers_*: the generator's picture and D's outputs.
    """

    condition: torch.Tensor
    pooled_over: torch.Tensor | None
    image: torch.Tensor | None
    features: torch.Tensor | None
    source: torch.Tensor
    fake: torch.Tensor | None = None
    answers_fake: list | None = None
    answers_real: list | None = None


class Pix2PixHDModel(BaseModel):
    """Networks G (generator), D (multiscale discriminator) and E (feature encoder); updates G (with E) and D."""

    loss_scale = {"D": 0.5}

    @staticmethod
    def modify_commandline_options(parser, is_train):
        """See pix2pixHD_flags."""
        flags.add_flags(parser, is_train)

    @staticmethod
    def check_options(opt):
        """See pix2pixHD_flags."""
        flags.check(opt)

    @staticmethod
    def inputs(opt):
        """Photos to train on or encode; features where they are read from files."""
        needs_image = opt.role in ("train", "encode") or getattr(opt, "use_encoded_image", False)
        return ("image",) * needs_image + ("feat",) * opt.load_features

    @staticmethod
    def size_multiple(opt):
        """2 to the number of halvings, of the deepest network in use."""
        deepest = opt.n_downsample_global + (opt.n_local_enhancers if opt.netG == "local" else 0)
        return 2 ** max(deepest, opt.n_downsample_E if opt.instance_feat or opt.label_feat else 0)

    def __init__(self, opt):
        self.use_features = opt.instance_feat or opt.label_feat
        super().__init__(opt)
        self.frozen: bool | None = None
        if opt.role == "train":
            self._make_losses()
        self.clusters = None
        if opt.role == "test":
            self._deploy()
        if opt.role == "test" and self.use_features and not (opt.use_encoded_image or opt.load_features):
            self.clusters = self._load_clusters()

    # networks

    def networks(self):
        """G and D and E to train, G (and E) to draw, E alone to encode."""
        opt = self.opt
        condition, features = self._channels()
        shared = {"norm": opt.norm, "upsample": opt.upsample, "use_dropout": opt.use_dropout}
        makers = {}
        if opt.role != "encode" and not (opt.role == "test" and (opt.onnx or opt.engine)):
            makers["G"] = lambda: generator(
                condition + features, opt.output_nc, opt.ngf, opt.netG, opt.n_downsample_global, opt.n_blocks_global,
                opt.n_local_enhancers, opt.n_blocks_local, feat_skip=features if opt.feat_skip else 0, **shared)
        if opt.role == "train":
            makers["D"] = lambda: MultiscaleDiscriminator(condition + opt.output_nc, opt.ndf, opt.n_layers_D, opt.norm,
                                                          opt.no_lsgan, opt.num_D, not opt.no_ganFeat_loss)
        encodes = opt.role in ("train", "encode") or opt.use_encoded_image
        if self.use_features and not opt.load_features and encodes:
            makers["E"] = lambda: generator(opt.output_nc, opt.feat_num, opt.nef, "encoder", opt.n_downsample_E,
                                            norm=opt.norm_E or opt.norm, upsample=opt.upsample, image_skip=opt.feat_skip)
        return makers

    def _channels(self) -> tuple[int, int]:
        """Channels of the generator's input: the condition's and the features'."""
        opt = self.opt
        return (opt.label_nc or opt.input_nc) + (not opt.no_instance), opt.feat_num if self.use_features else 0

    def _deploy(self):
        """--data_type, --onnx and --engine: another form of the generator."""
        opt = self.opt
        if opt.onnx or opt.engine:
            from models.deploy import EngineGenerator, OnnxGenerator
            self.nets["G"] = OnnxGenerator(opt.onnx) if opt.onnx else EngineGenerator(opt.engine, self.device)
        elif opt.data_type == 8:
            from models.deploy import round_weights
            round_weights(self.nets["G"])
        elif opt.data_type == 16:
            self.nets["G"].half()
            if self.device.type == "cpu":  # which has no half arithmetic worth the name
                self.nets["G"].float()

    def export_onnx(self, path):
        """Write the generator as ONNX. Its input: one-hot labels, edges, features."""
        from models.deploy import export_onnx
        export_onnx(self.nets["G"], sum(self._channels()), self.size_multiple(self.opt), path)
        print(f"{path}: the generator, from (1, {sum(self._channels())}, H, W): one-hot labels (or the input picture), edges, "
              "features")

    def weights_hint(self, name, state):
        """The flags that a generator's or encoder's state dict was made with."""
        return {"G": flags.describe_generator, "E": flags.describe_encoder}.get(name, lambda _: "")(state)

    def make_optimizers(self):
        """Adam for G with E, and for D."""
        def adam(*names):
            params = [p for name in names if name in self.nets for p in self.nets[name].parameters()]
            return torch.optim.Adam(params, lr=self.opt.lr, betas=(self.opt.beta1, 0.999), fused=True)
        return {"G": adam("G", "E"), "D": adam("D")}

    def start_epoch(self, epoch):
        """Constant learning rate, then a linear fall; the inner generator rests for the first epochs."""
        opt = self.opt
        lr = opt.lr * (1 - max(0, epoch - opt.niter - 1) / max(1, opt.niter_decay))
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = lr
        frozen = opt.netG == "local" and epoch <= opt.niter_fix_global
        if self.frozen and not frozen:
            self.optimizers["G"].state.clear()  # as in pix2pixHD, all parts start into the joint phase alike
        self.frozen = frozen
        for name, p in self.nets["G"].named_parameters():
            p.requires_grad_(not frozen or name.startswith(f"model{opt.n_local_enhancers}"))

    def extra_state(self):
        """The image pool, and whether the inner generator rests."""
        return {"pool": self.pool.images, "frozen": self.frozen}

    def load_extra_state(self, state):
        """Take back pool and phase."""
        self.pool.images = [image.to(self.device) for image in state.get("pool", [])]
        self.frozen = state.get("frozen")

    # losses

    def _make_losses(self):
        opt = self.opt
        self.gan_loss = GANLoss(use_lsgan=not opt.no_lsgan)
        self.matching_loss = FeatureMatchingLoss(opt.n_layers_D, opt.num_D)
        self.pool = ImagePool(opt.pool_size)
        self.vgg_loss, self.pyramid_weight = None, opt.lambda_pyr
        self.pyramid_loss = PyramidLoss()
        if not opt.no_vgg_loss and opt.lambda_feat:
            self._find_vgg()

    def _find_vgg(self):
        from models.networks.vgg import VGG19Features, find_weights
        state, reason = find_weights(self.opt.vgg_weights)
        if state is not None:
            self.vgg_loss = VGGLoss(VGG19Features(state).to(self.device))
            return
        self.pyramid_weight += self.opt.lambda_feat * sum(VGG_WEIGHTS)
        self.notes.append(f"No VGG19 weights: {reason}. Training goes on with a pyramid L1 term (G_Pyr) in place of G_VGG, "
                          "which gives blurrier pictures. Give the weights with --vgg_weights FILE, or say --no_vgg_loss to "
                          "have neither")

    def prepare(self, batch):
        """Labels one-hot, edges of instances, photos and features on the device."""
        opt = self.opt
        source = self._to_device(batch["label"])
        condition = one_hot(source, opt.label_nc) if opt.label_nc else source
        instances = None if opt.no_instance else self._to_device(batch["inst"])
        if instances is not None:
            condition = torch.cat([condition, edges(instances)], 1)
        pooled_over = (source if opt.label_feat else instances) if self.use_features else None
        self.context = Context(condition, pooled_over, self._to_device(batch["image"]), self._to_device(batch["feat"]), source)

    def _to_device(self, value):
        return value.to(self.device, non_blocking=True) if torch.is_tensor(value) else None

    def generate(self, features: torch.Tensor | None) -> torch.Tensor:
        """The generator's picture for the prepared batch. features: (N, feat_num, H, W) or None."""
        condition = self.context.condition
        inputs = condition if features is None else torch.cat([condition, features], 1)
        half = any(p.dtype == torch.float16 for p in self.nets["G"].parameters())  # --data_type 16
        with self.autocast():
            return self.nets["G"](inputs.half() if half else inputs).float()

    def encode_image(self, image: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) photos and (N, 1, H, W) ids -> features (N, feat_num, H, W), constant on each region."""
        with self.autocast():
            features = self.nets["E"].features(image)
        return Regions.of(maps).pool(features.float())

    def updates(self):
        """G first: it leaves the picture and D's answers, which D's loss uses."""
        return ("G", self.loss_G), ("D", self.loss_D)

    def loss_G(self):  # noqa: N802 - named after the network
        """Fool D, match its features, resemble the photo."""
        opt, ctx = self.opt, self.context
        features = ctx.features
        if self.use_features and features is None:
            features = self.encode_image(ctx.image, ctx.pooled_over)
        ctx.fake = self.generate(features)
        ctx.answers_fake = self._discriminate(ctx.fake)
        ctx.answers_real = self._discriminate(ctx.image)
        terms = {"G_GAN": self.gan_loss(ctx.answers_fake, True) * opt.lambda_gan}
        if not opt.no_ganFeat_loss:
            terms["G_GAN_Feat"] = self.matching_loss(ctx.answers_fake, ctx.answers_real) * opt.lambda_feat
        if self.vgg_loss is not None:
            with self.autocast():
                terms["G_VGG"] = self.vgg_loss(ctx.fake, ctx.image) * opt.lambda_feat
        if self.pyramid_weight:
            terms["G_Pyr"] = self.pyramid_loss(ctx.fake, ctx.image) * (self.pyramid_weight / sum(VGG_WEIGHTS))
        if opt.lambda_l1:
            terms["G_L1"] = torch.nn.functional.l1_loss(ctx.fake, ctx.image) * opt.lambda_l1
        return terms

    def loss_D(self):  # noqa: N802 - named after the network
        """Tell real pictures from drawn ones. Without a pool D has seen the drawn one already."""
        answers = self.context.answers_fake
        if self.pool.pool_size:
            pair = torch.cat([self.context.condition, self.context.fake.detach()], 1)
            answers = self._answers(self.pool.query(pair))
        return {"D_real": self.gan_loss(self.context.answers_real, True), "D_fake": self.gan_loss(answers, False)}

    def _discriminate(self, image):
        return self._answers(torch.cat([self.context.condition, image], 1))

    def _answers(self, pair):
        with self.autocast():
            return self.nets["D"](pair)

    # results

    @torch.no_grad()
    def inference(self, batch):
        """Draw a batch with the features of its own photos, of files, or of sampled styles."""
        self.eval()
        self.prepare(batch)
        ctx, features = self.context, None
        if self.use_features:
            if ctx.features is not None:
                features = ctx.features
            elif self.opt.use_encoded_image:
                features = self.encode_image(ctx.image, ctx.pooled_over)
            else:
                features = self.sample_features(ctx.pooled_over, batch["index"])
        return {"synthesized_image": self.generate(features)}

    def _load_clusters(self):
        from util.safe_pickle import load_dict
        path = Path(self.opt.checkpoints_dir) / self.opt.name / self.opt.cluster_path
        if not path.is_file():
            raise UserError(f"{path}: there is no such file of styles; run encode_features.py with --name {self.opt.name}, or "
                            "draw with --use_encoded_image")
        return load_dict(path, columns=self.opt.feat_num)

    def sample_features(self, maps: torch.Tensor, indices: list[int]) -> torch.Tensor:
        """A random style of its class for each region. maps: (N, 1, H, W) ids -> (N, feat_num, H, W).

        The draw follows from (--seed, the picture's index); a class without styles gets zeros.
        """
        regions = Regions.of(maps)
        random = [np.random.default_rng((self.opt.seed, index)) for index in indices]
        vectors = np.zeros((len(regions), self.opt.feat_num))
        for r, (label, picture) in enumerate(zip(regions.classes.tolist(), regions.picture.tolist())):
            styles = self.clusters.get(label, ())
            if len(styles):
                vectors[r] = styles[random[picture].integers(len(styles))]
        return regions.paint(torch.from_numpy(vectors).to(maps.device))

    @torch.no_grad()
    def encode(self, batch) -> list[dict[int, np.ndarray]]:
        """For each picture {class: (n, feat_num + 1)}: a row an instance, last its size in 1/32 of the picture."""
        self.eval()
        label, inst = batch["label"], batch["inst"]
        maps = (inst if torch.is_tensor(inst) else label).to(self.device)
        regions = Regions.of(maps)
        with self.autocast():
            features = self.nets["E"].features(batch["image"].to(self.device))
        size = regions.size / (maps.shape[-2] * maps.shape[-1] // 32)
        rows = torch.cat([regions.mean(features.float()), size[:, None]], 1).cpu().numpy()
        classes, pictures = regions.classes.cpu().numpy(), regions.picture.cpu().numpy()
        return [{int(c): rows[(pictures == i) & (classes == c)] for c in np.unique(classes[pictures == i])}
                for i in range(len(maps))]

    @torch.no_grad()
    def feature_map(self, batch) -> torch.Tensor:
        """The painted features of a batch of photos: (N, feat_num, H, W) in [-1, 1], as training would pool them."""
        self.eval()
        self.prepare(batch)
        return self.encode_image(self.context.image, self.context.pooled_over)

    def _shown_input(self, source):
        return tensor2label(source, self.opt.label_nc, colors=self.opt.spec.colors or None)

    def current_visuals(self):
        """Label map, drawn and real picture of the first item of the last step."""
        ctx = self.context
        return {"input_label": self._shown_input(ctx.source[0]), "synthesized_image": tensor2im(ctx.fake[0].detach()),
                "real_image": tensor2im(ctx.image[0])}

    def result_visuals(self, batch, outputs, i):
        """Label map, drawn picture and, where it exists, the real one."""
        visuals = {"input_label": self._shown_input(batch["label"][i]),
                   "synthesized_image": tensor2im(outputs["synthesized_image"][i])}
        if torch.is_tensor(batch["image"][i]):
            visuals["real_image"] = tensor2im(batch["image"][i])
        return visuals

    def new_metrics(self):
        """Colour error of regions, SSIM and PSNR against the real pictures."""
        from util.metrics import PictureMetrics
        return PictureMetrics(self.opt.spec.labels or None)

    def score(self, metrics, name, batch, visuals, i):
        """Compare one drawn picture with the truth."""
        if "real_image" not in visuals:
            return {}
        label = batch["label"][i][0].numpy() if self.opt.label_nc else None
        return metrics.add(name, visuals["synthesized_image"], visuals["real_image"], label)
